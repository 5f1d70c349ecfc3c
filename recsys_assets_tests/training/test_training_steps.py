import pytest
pytestmark = pytest.mark.training
def test_x(two_tower):
    print(two_tower)
def test_y(dlrm):
    print(dlrm)
def test_z(tuned_query_tower):
    print(tuned_query_tower)
def test_w(tuned_dlrm):
    print(tuned_dlrm)
