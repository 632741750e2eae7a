"""What the panels select: the labels that the choices at the top narrow, and queries made of them."""

from __future__ import annotations

from deploy.monitoring.panels import Query, Variable

RUN = 'molecule=~"$molecule",basis_set=~"$basis_set",optimizer=~"$optimizer",container_type=~"$container_type"'
OF_RUN = "{{molecule}} {{optimizer}} {{init_strategy}} {{seed}}"
RUN_VARIABLES = tuple(
    Variable(name, "qp_vqe_minimum_energy") for name in ("molecule", "basis_set", "optimizer", "container_type")
)


def run(metric: str) -> list[Query]:
    """A metric of the chosen runs, by its name without `qp_vqe_`."""
    return [Query(f"qp_vqe_{metric}{{{RUN}}}", OF_RUN)]


def by(metric: str, *labels: str, how: str = "sum", where: str = "") -> list[Query]:
    """A metric aggregated over all labels but these."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return [Query(f"{how} by ({', '.join(labels)}) ({metric}{where})", legend)]
