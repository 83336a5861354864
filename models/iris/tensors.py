#!/usr/bin/python3
"""The model of iris.py with MER's Python SDK: flowers as a tensor, species and probabilities out.

Its weights are those that MER gives it, and weights/1.json where it gives none.
"""
from math import exp
from pathlib import Path
from typing import Annotated

import mer

import iris

Flowers = Annotated[mer.Tensor, mer.Spec("FP32", [-1, 4])]
Answer = Annotated[dict, mer.Spec("BYTES", [-1], "species"), mer.Spec("FP32", [-1, 3], "probability")]


class Loaded:
    model: iris.Discriminants


@mer.load
def load(weights: str) -> None:
    path = Path(weights) if weights else Path(__file__).with_name("weights") / "1.json"
    Loaded.model = iris.load(path)


def probabilities(sums: list[float]) -> list[float]:
    """Equal priors and one covariance: the discriminants are logarithms, but for a common sum."""
    most = max(sums)
    parts = [exp(x - most) for x in sums]
    return [part / sum(parts) for part in parts]


@mer.model(name="iris")
def predict(flowers: Flowers) -> Answer:
    rows = flowers.tolist()
    for number, row in enumerate(rows, 1):
        if not all(abs(x) < iris.LIMIT for x in row):  # false for nan
            raise mer.InputError(f"flower {number} has a number that is not within -1e6 to 1e6")
    sums = [Loaded.model.sums(row) for row in rows]
    species = [iris.SPECIES[row.index(max(row))].encode() for row in sums]
    found = [p for row in sums for p in probabilities(row)]
    return {"species": mer.Tensor.of_elements(species, [len(rows)]),
            "probability": mer.Tensor("FP32", [len(rows), 3], mer.Tensor.of(found, "FP32").data)}


@mer.train
def train(job: mer.Train) -> dict[str, float]:
    try:
        return iris.train(Path(job.dataset), Path(job.new_weights))
    except iris.BadData as error:
        raise mer.InputError(str(error)) from None


mer.serve()
