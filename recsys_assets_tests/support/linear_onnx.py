"""Small real ONNX files whose answers numpy can check: a weighted sum of the inputs, then a tail.

The package onnx lives in the training environment; so does this script, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from recsys_assets import columns as c
from recsys_assets.settings import Settings

#: Defines ``write_ranker_parts``: the linear ranker in the two parts that serve, by its weights of
#: cat [9, 1], cont [14, 1] and embeddings [128, 1].
RANKER_PARTS = """
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as nh, save

def write_ranker_parts(of_cat, of_cont, of_embeddings, items, lists):
    # vectors take part with what the sum owes to the embeddings, known with what it owes to the item's values
    def part(path, inputs, nodes, outputs, **constants):
        matrices = [[h.make_tensor_value_info(name, kind, shape) for name, kind, *shape in side] for side in (inputs, outputs)]
        graph = h.make_graph(nodes, path.stem, *matrices, [nh.from_array(values, name) for name, values in constants.items()])
        save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), str(path))

    known, vectors, axis = ("known", T.FLOAT, "N", 1), ("vectors", T.FLOAT, "N", 1, 1), np.array([2])
    part(items, [("cat", T.INT32, "N", 4), ("embeddings", T.FLOAT, "N", 128)],
         [h.make_node("Cast", ["cat"], ["cat_f"], to=T.FLOAT), h.make_node("MatMul", ["cat_f", "w_cat"], ["known"]),
          h.make_node("MatMul", ["embeddings", "w_embeddings"], ["e"]), h.make_node("Unsqueeze", ["e", "axis"], ["vectors"])],
         [known, vectors], w_cat=of_cat[5:], w_embeddings=of_embeddings, axis=axis)
    part(lists, [("cat", T.INT32, 1, 5), ("cont", T.FLOAT, 1, 8), ("numbers", T.FLOAT, "N", 6), known, vectors],
         [h.make_node("Cast", ["cat"], ["cat_f"], to=T.FLOAT), h.make_node("MatMul", ["cat_f", "w_cat"], ["u"]),
          h.make_node("MatMul", ["cont", "w_cont"], ["c"]), h.make_node("MatMul", ["numbers", "w_numbers"], ["n"]),
          h.make_node("Squeeze", ["vectors", "axis"], ["v"]), h.make_node("Sum", ["u", "c", "n", "known", "v"], ["y"]),
          h.make_node("Sigmoid", ["y"], ["p"]), h.make_node("Reshape", ["p", "flat"], ["score"])],
         [("score", T.FLOAT, "N")], w_cat=of_cat[:5], w_cont=of_cont[:8], w_numbers=of_cont[8:], axis=axis, flat=np.array([-1]))
"""

_SCRIPT = (
    RANKER_PARTS
    + """
import json, sys
from pathlib import Path
for model in json.load(sys.stdin):
    nodes, terms, weights = [], [], []
    with np.load(model["weights"]) as stored:
        for name in stored:
            weights.append(nh.from_array(stored[name], "w_" + name))
            nodes.append(h.make_node("Cast", [name], ["f_" + name], to=T.FLOAT))
            nodes.append(h.make_node("MatMul", ["f_" + name, "w_" + name], ["p_" + name]))
            terms.append("p_" + name)
        inputs = [h.make_tensor_value_info(name, T.INT32 if name == "cat" else T.FLOAT, ["B", stored[name].shape[0]])
                  for name in stored]
        width = stored[stored.files[0]].shape[1]
    nodes.append(h.make_node("Sum", terms, ["sum"]))
    if model["tail"] == "l2":
        nodes.append(h.make_node("LpNormalization", ["sum"], [model["output"]], axis=1, p=2))
        shape = ["B", width]
    else:
        weights.append(nh.from_array(np.array([1]), "axis"))
        nodes.append(h.make_node("Squeeze", ["sum", "axis"], ["flat"]))
        nodes.append(h.make_node("Sigmoid", ["flat"], [model["output"]]))
        shape = ["B"]
    graph = h.make_graph(nodes, "linear", inputs, [h.make_tensor_value_info(model["output"], T.FLOAT, shape)], weights)
    save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), model["path"])
    if model["output"] == "score":
        with np.load(model["weights"]) as stored:
            path = Path(model["path"])
            write_ranker_parts(*(stored[name] for name in ("cat", "cont", "embeddings")), *(
                path.with_name(path.stem + "_" + part + ".onnx") for part in ("items", "lists")))
"""
)

#: Of a click history: twice the cardinality of category_l1 in the simulated shop, which has 20
#: categories.
HISTORY = 2 * (c.VOCABULARY_START + 20)
_EMBEDDINGS = 2 * c.EMBEDDING_DIM
#: File → (input widths, output name, tail, output width), as the training steps export them.
MODELS = {
    "query_tower.onnx": (
        {"cat": len(c.QUERY_CATEGORICAL), "cont": len(c.QUERY_CONTINUOUS), "history": HISTORY},
        "embedding",
        "l2",
        c.EMBEDDING_DIM,
    ),
    "item_tower.onnx": (
        {"cat": len(c.ITEM_CATEGORICAL), "cont": len(c.ITEM_CONTINUOUS), "embeddings": _EMBEDDINGS},
        "embedding",
        "l2",
        c.EMBEDDING_DIM,
    ),
    "dlrm.onnx": (
        {
            "cat": len(c.RANKER_CATEGORICAL),
            "cont": len(c.RANKER_CONTINUOUS),
            "embeddings": _EMBEDDINGS,
        },
        "score",
        "sigmoid",
        1,
    ),
}


def write_models(
    folder: Path, seed: int = 3, history: int = HISTORY
) -> dict[str, dict[str, np.ndarray]]:
    """Write all three, the ranker also in two parts; returns their weights, file → {input: float32
    [width, output width]}.

    history: width of a click history in a shop with other categories.
    """
    rng = np.random.default_rng(seed)
    weights, jobs = {}, []
    for name, (fixed, output, tail, width) in MODELS.items():
        widths = {**fixed, "history": history} if "history" in fixed else fixed
        weights[name] = {
            key: (rng.standard_normal((n, width)) * 0.05).astype(np.float32)
            for key, n in widths.items()
        }
        np.savez(folder / f"{name}.npz", **weights[name])
        jobs.append(
            {
                "weights": str(folder / f"{name}.npz"),
                "output": output,
                "tail": tail,
                "path": str(folder / name),
            }
        )
    command = [str(Settings().training_python), "-c", _SCRIPT]
    subprocess.run(command, input=json.dumps(jobs), text=True, check=True, timeout=120)
    return weights


def answer(weights: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the model must give, in float64."""
    total = sum(inputs[name].astype(np.float64) @ weights[name] for name in weights)
    if total.shape[1] == 1:
        return 1 / (1 + np.exp(-total[:, 0]))
    return total / np.linalg.norm(total, axis=1, keepdims=True)
