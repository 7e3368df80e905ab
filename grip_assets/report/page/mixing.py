"""The section Mixing: how the budget was learned, what it changed, and whether its predictions hold.

The pictures are in mixing_figures.py, the sentences that the terminal says too are in report/mixing.py.
"""

from typing import Any

import polars as pl

from grip_assets.report import mixing
from grip_assets.report.mixing import MIXERS, REGRESSORS
from grip_assets.report.page import mixing_figures as figures
from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Block, Prose, Section, say
from grip_assets.store import learned_mixture
from grip_assets.store.learned_mixture import Mixture

TITLE = "Mixing: the learned budget"
MOST = 3  # domains that a sentence names
OLD = (
    "The measurements below are of an earlier mixture. <code>grip evaluate mixture_check</code> measures the one in"
    " force."
)
TABLES = ("mixture_domains", "mixtures", "mixture_losses", "mixture_weights", "mixture_fit", "mixture_summary")


def section(context: Context) -> Section:
    needed = context.lacks(*TABLES)
    if needed:
        return Section("mixing", TITLE, needed)
    found = learned_mixture.in_force(context.connection, context.store, context.names)
    if found is None:
        return Section("mixing", TITLE, context.unused("mixture") or [say("No mixture was learned.")])
    blocks = [
        *_how(context, found),
        *_weights(context, found),
        *_checked(context, found),
        *_predictable(context, found),
        *_steps(context, found),
        *_trained(context, found),
    ]
    return Section("mixing", TITLE, blocks)


def _how(context: Context, found: Mixture) -> list[Block]:
    """What was trained, and how it became weights."""
    mixtures, losses = context.table("mixtures", "mixture_id, domain"), context.table("mixture_losses", "mixture_id")
    failed = losses.filter(pl.col("failed").is_not_null()).select("mixture_id", "seed").n_unique()
    return [
        say(
            "<strong>How the weights were learned</strong>: {method} over {n} domains, which are {domains}. {how}"
            " {measure} {objective}.{failed}{replay}",
            method=found.method,
            n=len(found.weights),
            domains=mixing.DOMAINS.get(found.settings["domains"], "domains"),
            how=_how_it_works(found, mixtures),
            measure="mixture_check measures" if found.settings.get("method") == "doremi" else "The objective is",
            objective=_objective(found),
            failed=_failed(failed),
            replay=_replay(context),
        )
    ]


def _how_it_works(found: Mixture, mixtures: pl.DataFrame) -> str:
    count = dict(mixtures.unique("mixture_id").group_by("kind").len().iter_rows())
    if found.settings.get("method") == "doremi":
        return (
            "A reference model learned the domains at fixed shares. A second model then read more of a domain, the more"
            " its loss there was above that of the reference. The weights are the mean over all steps."
        )
    if found.settings.get("method") == "perf":
        return (
            f"{count.get('upsampled', 0)} small models were trained, each with one domain read more often. A domain that"
            " lowered the loss gets more weight. This rule is ours: the paper gives none."
        )
    return (
        f"{count.get('swarm', 0)} small models were trained, each on another mixture of the domains. A regression"
        " predicts the loss of a mixture from its shares, and the weights have the least predicted loss"
        " within the limits of settings/mixing."
    )


def _objective(found: Mixture) -> str:
    objective = found.settings.get("objective", "held_out")
    if objective.startswith("domain:"):
        name = objective.removeprefix("domain:")
        domain = dict(found.weights.select("name", "domain").iter_rows()).get(name)
        return f"the loss on held-out documents of {name if domain is None else found.label(domain)}"
    return {
        "held_out": "the mean loss on held-out documents, with each domain counted by its natural share",
        "benchmarks": "the loss on the solutions of benchmarks",
        "target": "the loss on your target set",
    }.get(objective, objective)


def _failed(n: int) -> str:
    return f" {n} training{'s' * (n > 1)} failed and {'are' if n > 1 else 'is'} left out." if n else ""


def _replay(context: Context) -> str:
    replay = context.setting("budget", "replay")
    if replay in (None, "none"):
        return ""
    return " Replay (budget.replay) then multiplies these budgets, as the section Budget shows."


def _weights(context: Context, found: Mixture) -> list[Block]:
    up, down = mixing.up_and_down(found, MOST)
    steps = context.table("mixture_steps", "seed, step, domain")
    matter = mixing.matter(found, mixing.reasons(found, steps, _gains(context, found)), MOST)
    moved = say(
        "<strong>Up most</strong>: {up}. <strong>Down most</strong>: {down}. {sure}",
        up="; ".join(up) or "no domain",
        down="; ".join(down) or "no domain",
        sure=mixing.how_sure(found.weights),
    )
    said = [say("<strong>What to make of it</strong>: {words}", words=found.words)] if found.words else []
    said += [say("<strong>The domains that matter</strong>: {matter}", matter=matter)] if matter else []
    return [moved, *said, figures.weights(context, found)]


def _gains(context: Context, found: Mixture) -> pl.DataFrame:
    return mixing.upsampled(context.table("mixtures", "mixture_id, domain"), _objectives(context, found, "mixture_id"))


def _objectives(context: Context, found: Mixture, by: str) -> pl.DataFrame:
    """The objective of each mixture, or of each mixer, and seed."""
    name = {"mixture_id": "mixture_losses", "mixer": "mixture_check"}[by]
    losses, domains = context.table(name, f"{by}, seed, target"), context.table("mixture_domains", "domain")
    return mixing.objectives(losses, found.settings.get("objective", "held_out"), domains, by)


def _checked(context: Context, found: Mixture) -> list[Block]:
    """Predicted and measured loss of the learned weights beside the cheap mixers."""
    predicted = context.table("mixture_predicted", "mixer")
    if context.lacks("mixture_check", "mixture_verdict"):
        ask: Prose = say(
            "<strong>Not measured yet</strong>: whether models trained on these weights are better.{predicted}"
            " <code>grip evaluate mixture_check</code> trains the learned weights beside natural shares and the mixers"
            " that cost nothing, each with several seeds.",
            predicted=" The loss is only predicted." if predicted["predicted"].count() else "",
        )
        drawn = [figures.predicted(predicted)] if predicted["predicted"].count() else []
        return [ask, *drawn]
    measured = _objectives(context, found, "mixer")
    verdicts = context.table("mixture_verdict", "mixer").to_dicts()
    said = [
        say(
            "<strong>{mixer}</strong>: {words}",
            mixer=_capital(MIXERS.get(row["mixer"], row["mixer"])),
            words=row["words"],
        )
        for row in verdicts
        if row["mixer"] in ("found", "grip")
    ]
    metrics = _check_in_force(context)["metrics"]
    said += [say("{order}", order=metrics[name]) for name in ("prediction", "grip_left_out") if metrics.get(name)]
    if not _of_this_mixture(context, found):
        said = [say(OLD), *said]
    return [*said, figures.predicted(predicted, measured, verdicts)]


def _of_this_mixture(context: Context, found: Mixture) -> bool:
    """Whether mixture_check measured the mixture in force, and not an earlier one."""
    return bool(_check_in_force(context)["inputs"].get("mixture") == found.version)


def _check_in_force(context: Context) -> dict[str, Any]:
    """The manifest of mixture_check."""
    versions = dict(context.ask("report/run").select("asset", "version").iter_rows())
    return context.store.manifest("mixture_check", versions["mixture_check"])


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _predictable(context: Context, found: Mixture) -> list[Block]:
    fit = context.table("mixture_fit", "regressor, split")
    if fit.is_empty():
        return []
    rows = mixing.predictability(fit)
    ranks = context.table("mixture_summary", "method")["regressor"][0]
    row = next(iter(rows.filter(regressor=ranks).to_dicts()), rows.row(-1, named=True))
    said = say(
        "<strong>Can a mixture be predicted?</strong> The {name} ranks mixtures that it has not seen with a Spearman"
        " correlation of {all} (median of {splits} splits, quartiles {low} to {high}), and the best quarter of them"
        " with {best}. A search depends on the best quarter. The losses of the swarm have a standard deviation of"
        " {spread} bits per byte. Mixtures that are far apart are easy to rank, so a wide swarm makes every regression"
        " look good.",
        name=REGRESSORS.get(row["regressor"], row["regressor"]),
        splits=row["splits"],
        **{name: _number(row[f"spearman_{of}"]) for name, of in (("all", "median"), ("low", "low"), ("high", "high"))},
        best=_number(row["spearman_best_median"]),
        spread=f"{row['spread']:.3f}",
    )
    return [said, figures.predictability(rows)]


def _number(value: Any) -> str:
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def _steps(context: Context, found: Mixture) -> list[Block]:
    steps = context.table("mixture_steps", "seed, step, domain")
    return [] if steps.is_empty() else [figures.history(found, steps)]


def _trained(context: Context, found: Mixture) -> list[Block]:
    mixtures, losses = (
        context.table("mixtures", "mixture_id, domain"),
        context.table("mixture_losses", "mixture_id, seed, target"),
    )
    value, domains = _objectives(context, found, "mixture_id"), context.table("mixture_domains", "domain")
    rows = mixing.swarm(mixtures, losses, value, domains)
    if rows["value"].count() < 2:
        return []
    return [figures.swarm(found, mixtures, rows, *_learned(context, found))]


def _learned(context: Context, found: Mixture) -> tuple[float | None, bool]:
    """The objective of the learned weights, and whether it is measured; else it is predicted."""
    predicted = context.table("mixture_predicted", "mixer").filter(mixer="found")["predicted"]
    if context.lacks("mixture_check") or not _of_this_mixture(context, found):
        return (predicted[0] if len(predicted) else None), False
    measured = _objectives(context, found, "mixer").filter(mixer="found")["value"]
    return (float(measured.mean()) if len(measured) else None), True  # type: ignore[arg-type]
