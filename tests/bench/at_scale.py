"""3,000 owners and 100,000 rows: what `tests.bench.scale` measures, as rows of this report."""

from __future__ import annotations

import importlib

from tests.bench.ground import Ground
from tests.bench.measuring import Row

HOW = (
    "3,000 owners in a Kubernetes API without nodes: `list`, from Python on an open connection and from the shell, "
    "beside kubectl's own raw lists of the same objects on the same host; and questions to a store of 100,000 rows."
)


def measure(ground: Ground) -> list[Row]:
    scale = importlib.import_module("tests.bench.scale")  # only here, as it takes the cluster's programs along
    rows = []
    for one in scale.measure(ground.cluster, ground.report):
        alone = one.bound if one.rival is None else None
        rows.append(Row(one.name, one.ours, one.ours_p95, bound=alone, unit=one.unit))
        if one.rival is not None:
            rows.append(Row(f"{one.name}: its rival", one.rival, one.rival_p95, one.ratio, one.bound, unit=one.unit))
    return rows
