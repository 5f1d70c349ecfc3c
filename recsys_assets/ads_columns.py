"""Define the columns of an ads log: the public form of Criteo's click logs.

Each row is one shown ad: whether it was clicked, 13 counts and 26 categories, all anonymous.
Source: Criteo's "Display Advertising Challenge" (2014) and "1TB Click Logs" (2013). This module
imports only the standard library, so that every environment can import it.
"""

from __future__ import annotations

LABEL = "label"  # 1: the ad was clicked
INTEGERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
FEATURES = (*INTEGERS, *CATEGORIES)
COLUMNS = (LABEL, *FEATURES)

#: Longest text of a category; the public logs have 8 characters.
LONGEST = 256
#: Largest count: floats hold every whole number up to it.
LARGEST = 1 << 53
#: Standard deviations at which a normalised count is cut off. A count that no training row had must
#: not overflow the products of the cross layers.
MOST_DEVIATIONS = 20.0
