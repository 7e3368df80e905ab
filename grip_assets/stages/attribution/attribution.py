"""attribution: how much each document helps with each target, and how well such scores predict retraining.

The score of a subset is R5: its alignment with the target, less a penalty for what its documents have in common. A
configuration is a source of features, whether these have unit length, and gamma, the weight of the penalty. With
settings/attribution.choose, it is chosen by the trials of the role calibration. The trials of the role check have no
part in the choice. On them fidelity is measured: of every configuration, and of the baselines.

The method, GRASP, is public only as an abstract. This is a reconstruction, with equations of our own. They are in
method/attribution/: R5 in surrogate.py, the choice in choice.py, fidelity in fidelity.py. Sums over sketches are in
scores.py, what baselines read in evidence.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.attribution import choice, unigram
from grip_assets.method.attribution import fidelity as agreement
from grip_assets.method.attribution.choice import Configuration, Measured
from grip_assets.method.attribution.surrogate import unit
from grip_assets.method.statistics import known, minus
from grip_assets.settings import Attribution, field_names
from grip_assets.stages.attribution.attribution_targets import weights_of
from grip_assets.stages.attribution.evidence import Scored, dsir_version, scored
from grip_assets.stages.attribution.measured import CALIBRATION, CHECK, Trials, trials_of
from grip_assets.stages.attribution.scores import Sketched, Sketches
from grip_assets.stages.curation.needed import no_attribution, no_trials
from grip_assets.store.attributed import configuration as in_words_of

BASELINE = "baseline"


def compute(work: Work) -> dict[str, Any]:
    settings, documents = Attribution.of(work.settings), work.frame("clusters")
    targets = work.frame("target_sketches")["target"].unique(maintain_order=True).to_list()
    weights = weights_of(targets, settings)
    trials = _trials(work, documents["doc_id"], targets, settings)
    sketches = Sketches(work, documents, trials)
    grid = configurations(settings)
    predicted, sketched = sketches.predictions(grid)
    aimed = [t for t, weight in enumerate(weights) if weight > 0]
    found = _chosen(grid, predicted, trials, aimed, settings)
    chosen = choice.chosen(found)
    ranking = replace(chosen, normalize=ranked_by(chosen))
    sums = sketched.get((ranking.source, ranking.normalize)) or sketches.of(ranking.source, ranking.normalize)
    rows, baselines = [], list[Scored]()
    if trials and (check := trials.only(CHECK)).ids:
        baselines = list(scored(work, sketches, trials.only(CALIBRATION), check))
        rows = _fidelity(predicted, baselines, check, trials, targets)
    costs = _costs(work, baselines)
    work.draft.write("attribution_choice", _choice_rows(found))
    work.draft.write("attribution_fidelity", _fidelity_rows(rows, chosen, costs))
    work.draft.write("attribution_predictions", _predictions(predicted, baselines, trials, targets))
    work.draft.write("attribution_aims", _aims(work, sketches, sums, ranking, weights, settings))
    work.draft.write("attribution_clusters", _clusters(documents, sums))
    _write_alignments(work, sketches, sums, chosen)
    words = in_words(found, rows)
    work.log(words)
    return {"configuration": chosen.name, "words": words, **_best(rows, chosen), **_trial_counts(trials)}


# ------------------------------------------------------------------------------------------------- which configuration


def configurations(settings: Attribution) -> list[Configuration]:
    """The grid. Where nothing is chosen, it has one configuration. GripError if that has no source."""
    if not settings.calibrates:
        if len(settings.sources) > 1:
            raise GripError(
                "settings/attribution.source is auto, and choose is none, so nothing says which of"
                f" {', '.join(settings.sources)} to use. Set attribution.source to one of them, or"
                " attribution.choose to bootstrap."
            )
        return [choice.default(settings.sources[0], settings.normalize, settings.gamma)]
    normalizes = ("none", "unit") if settings.normalize == "auto" else (settings.normalize,)
    return choice.grid(settings.sources, normalizes, settings.gammas)


def _start(settings: Attribution) -> Configuration:
    """The default before anything is measured: token counts if they are a candidate, and of the gammas that are
    compared the nearest to the default."""
    source = "unigram" if "unigram" in settings.sources else settings.sources[0]
    usual = choice.default(source, settings.normalize)
    return replace(usual, gamma=min(map(float, settings.gammas), key=lambda gamma: abs(gamma - usual.gamma)))


def _chosen(
    grid: Sequence[Configuration],
    predicted: Mapping[Configuration, np.ndarray],
    trials: Trials | None,
    aimed: Sequence[int],
    settings: Attribution,
) -> list[Measured]:
    """The configurations with what was measured, one of them chosen. Only calibration subsets, and only targets that
    are aimed at, have a part in it."""
    if trials is None:
        return [Measured(grid[0], np.nan, np.nan, np.nan, None, True, "as set: nothing was measured")]
    own = (trials.role_S == CALIBRATION) & np.isfinite(trials.utility_TS).any(axis=0)
    here = np.ix_(aimed, own)
    measured = choice.calibration(
        trials.utility_TS[here], trials.role_S[own].tolist(), trials.size_S[own], trials.block_S[own]
    )
    mine = {c: predicted_TS[here] for c, predicted_TS in predicted.items()}
    return choice.choose(settings.choose, mine, measured, _start(settings), settings.delta)


def _trials(work: Work, documents: pl.Series, targets: Sequence[str], settings: Attribution) -> Trials | None:
    """The subsets that were retrained; None if the settings ask for none."""
    if not settings.calibrates:
        return None
    return trials_of(work.frame("trial_subsets"), work.frame("utilities"), documents, targets, settings.seeds)


def ranked_by(chosen: Configuration) -> str:
    """How features are normalised where documents are ranked. Gradients get unit length whatever was chosen for
    subsets: the token-mean gradients of short documents are the largest, so these would lead every ranking."""
    return "unit" if chosen.source in choice.GRADIENTS else chosen.normalize


# ------------------------------------------------------------------------------------------------------------ fidelity


def _fidelity(
    predicted: Mapping[Configuration, np.ndarray],
    baselines: Sequence[Scored],
    check: Trials,
    trials: Trials,
    targets: Sequence[str],
) -> list[agreement.Fidelity]:
    """How well every configuration and baseline predicts the utilities of the ``check`` subsets."""
    at_S = [trials.ids.index(subset) for subset in check.ids]
    scores = {c.name: predicted_TS[:, at_S] for c, predicted_TS in predicted.items()}
    additive = {c.name: c.additive.name for c in predicted}
    families = np.array([agreement.family(kind) for kind in check.kind_S])
    measured = agreement.Check(targets, check.utility_TS, families, check.size_S, check.first_TS, check.again_TS)
    return agreement.fidelity(scores | {b.name: b.predicted_TS for b in baselines}, additive, measured)


def _costs(work: Work, baselines: Sequence[Scored]) -> dict[str, dict[str, Any]]:
    """What each source and each baseline cost up front, by name: seconds, flops and bytes of artifacts."""
    of_source = {
        row["source"]: {name: row[name] for name in ("seconds", "flops", "bytes")}
        for row in work.frame("sketch_sources").iter_rows(named=True)
    }
    free = {"seconds": 0.0, "flops": 0.0, "bytes": 0}
    found = dict(of_source)
    for baseline in baselines:
        reads = of_source.get(baseline.source, free)
        found[baseline.name] = reads | {"seconds": (reads["seconds"] or 0.0) + baseline.seconds}
    return found


def _best(rows: Sequence[agreement.Fidelity], chosen: Configuration) -> dict[str, float]:
    """Fidelity of the chosen configuration by family and size, as metrics."""
    own = [row for row in _means(rows) if row.name == chosen.name and row.spearman.known]
    sizes = {row.size for row in own}
    return {f"fidelity_{row.family}" + (f"_{row.size}" if len(sizes) > 1 else ""): row.spearman.value for row in own}


def _means(rows: Sequence[agreement.Fidelity]) -> list[agreement.Fidelity]:
    """The rows for all targets together, or for the only target."""
    together = [row for row in rows if row.target == agreement.MEAN]
    return together or list(rows)


def _trial_counts(trials: Trials | None) -> dict[str, int]:
    if trials is None:
        return {}
    went_well = np.isfinite(trials.utility_TS).any(axis=0)
    return {f"trials_{role}": int((went_well & (trials.role_S == role)).sum()) for role in (CALIBRATION, CHECK)}


def label(configuration: Configuration) -> str:
    """In words, as people read it everywhere."""
    return in_words_of(asdict(configuration))


def in_words(found: Sequence[Measured], rows: Sequence[agreement.Fidelity]) -> str:
    """What was chosen, how well it predicts, and whether other sources add anything."""
    chosen = choice.chosen(found)
    if len(found) == 1 and not np.isfinite(found[0].mean):
        return f"{label(chosen)}: as set; nothing was retrained, so how well it predicts is not known"
    own = [row for row in _means(rows) if row.name == chosen.name]
    said = "; ".join(_predicts(row) for row in own) or "how well it predicts was not checked"
    return f"{label(chosen)}: {said}{_of_others(found, chosen)}"


def _predicts(row: agreement.Fidelity) -> str:
    ceiling = f", ceiling {minus(row.ceiling)}" if np.isfinite(row.ceiling) else ""
    return f"predicts {row.family} subsets of {row.size:,} tokens with {row.spearman}{ceiling} ({row.words})"


def _of_others(found: Sequence[Measured], chosen: Configuration) -> str:
    """What the trials say of the other sources."""
    others = list(dict.fromkeys(m.configuration.source for m in found if m.configuration.source != chosen.source))
    if not others:
        return ""
    words = next(m.words for m in found if m.chosen)
    if words.startswith("chosen: better"):
        return f". It was {words}"
    return f". {', '.join(others)} {'add' if len(others) > 1 else 'adds'} nothing that the trials can show"


# ---------------------------------------------------------------------------------------------------------- the tables


def _choice_rows(found: Sequence[Measured]) -> pl.DataFrame:
    rows = [
        {
            "configuration": m.configuration.name,
            "source": m.configuration.source,
            "normalize": m.configuration.normalize,
            "gamma": m.configuration.gamma,
            "mean": known(m.mean),
            "gain": known(m.gain),
            "lower_bound": known(m.lower),
            "upper_bound": None if m.upper is None else known(m.upper),
            "chosen": m.chosen,
            "words": m.words,
        }
        for m in found
    ]
    return pl.DataFrame(rows, stage.schema("attribution_choice"))


def _fidelity_rows(
    rows: Sequence[agreement.Fidelity], chosen: Configuration, costs: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    """A configuration costs what its source costs."""
    found = []
    for row in rows:
        source, slash, _ = row.name.partition("/")
        what = "chosen" if row.name == chosen.name else "configuration" if slash else BASELINE
        cost = costs.get(source, {})
        found.append(
            {
                "configuration": row.name,
                "what": what,
                "target": row.target,
                "kind": row.family,
                "size": row.size,
                "n": row.spearman.n,
                **row.spearman.columns("spearman"),
                "ceiling": known(row.ceiling),
                "ratio": known(row.ratio),
                **row.over_additive.columns("over_additive", "over_additive_low", "over_additive_high"),
                **{name: cost.get(name) for name in ("seconds", "flops", "bytes")},
                "words": row.words,
            }
        )
    return pl.DataFrame(found, stage.schema("attribution_fidelity"))


def _predictions(
    predicted: Mapping[Configuration, np.ndarray],
    baselines: Sequence[Scored],
    trials: Trials | None,
    targets: Sequence[str],
) -> pl.DataFrame:
    """One row for each score, trial and target. Baselines have only the trials of the check."""
    empty = stage.table("attribution_predictions").empty()
    if trials is None:
        return empty
    parts = [_predicted(c.name, values_TS, trials, targets) for c, values_TS in predicted.items()]
    check = trials.only(CHECK)
    parts += [_predicted(b.name, b.predicted_TS, check, targets) for b in baselines]
    return pl.concat([empty, *parts])


def _predicted(name: str, values_TS: np.ndarray, trials: Trials, targets: Sequence[str]) -> pl.DataFrame:
    n_targets, n = values_TS.shape
    columns = {
        "configuration": [name] * (n_targets * n),
        "subset_id": trials.ids * n_targets,
        "role": trials.role_S.tolist() * n_targets,
        "kind": trials.kind_S.tolist() * n_targets,
        "size": trials.size_S.tolist() * n_targets,
        "target": [target for target in targets for _ in range(n)],
        "predicted": values_TS.ravel(),
        "utility": pl.Series(trials.utility_TS.ravel()).fill_nan(None),
    }
    return pl.DataFrame(columns, stage.schema("attribution_predictions"))


def _aims(
    work: Work,
    sketches: Sketches,
    sums: Sketched,
    ranking: Configuration,
    weights: Sequence[float],
    settings: Attribution,
) -> pl.DataFrame:
    items = dict(work.frame("target_sketches").filter(source=ranking.source).select("target", "n_items").iter_rows())
    targets = sketches.targets
    sketch = pl.Series("sketch", sums.target_TF.astype(np.float32))
    return pl.DataFrame(
        {
            "target": targets,
            "weight": weights,
            "combine": settings.combine,
            "source": ranking.source,
            "normalize": ranking.normalize,
            "gamma": ranking.gamma,
            "scale": sums.scale_T,
            "n_items": [items[name] for name in targets],
            "sketch": sketch,
            "prior": pl.Series([sums.prior] * len(targets), dtype=pl.Float64),
            "temperature": settings.temperature,
        }
    )


def _clusters(documents: pl.DataFrame, sums: Sketched) -> pl.DataFrame:
    """The mean sketch of each cluster, weighted by tokens."""
    sizes = documents.group_by("cluster_id", maintain_order=True).agg(pl.sum("n_tokens"))
    return sizes.with_columns(sketch=pl.Series(sums.cluster_KF.astype(np.float32)))


def _write_alignments(work: Work, sketches: Sketches, sums: Sketched, chosen: Configuration) -> None:
    """The cosine of each document's sketch and each target's, block by block."""
    compared = partial(_centred, pool_F=sums.pool.mean_F) if chosen.source == choice.ENTROPY else np.asarray
    target_TF = unit(compared(sums.target_TF)).astype(np.float64)
    names, at = sketches.targets, 0
    ids = sketches.documents["doc_id"]
    schema = pa.schema([("doc_id", pa.large_string()), ("target", pa.large_string()), ("alignment", pa.float64())])
    with work.draft.writer("attribution", schema) as writer:
        for phi_BF in sketches.blocks(chosen.source):
            cosine_BT = np.clip(unit(compared(phi_BF)).astype(np.float64) @ target_TF.T, -1, 1)
            rows = pl.DataFrame(
                {
                    "doc_id": ids.gather(np.repeat(np.arange(at, at + len(phi_BF)), len(names))),
                    "target": names * len(phi_BF),
                    "alignment": cosine_BT.ravel(),
                }
            )
            writer.write(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
            at += len(phi_BF)


def _centred(share_BF: np.ndarray, pool_F: np.ndarray) -> np.ndarray:
    """Shares of tokens as the source unigram has them, in chi-squared units. Raw shares all point to the same few
    tokens, and a document without tokens stays zero."""
    return unigram.chi_squared(np.asarray(share_BF, np.float64), pool_F / pool_F.sum())


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The version of DSIR's package, which decides whether DSIR is one of the baselines."""
    return {"data-selection": dsir_version()} if Attribution.of(settings).calibrates else {}


SKETCHED = ("sketches.sketch", "target_sketches.sketch")
TRIED = (*SKETCHED, "trial_subsets.doc_id", "utilities.utility")
TABLES = (
    Table(
        "attribution",
        (
            Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
            Column("target", pl.String, "Target.", ("target_sketches.target",)),
            Column(
                "alignment",
                pl.Float64,
                "Cosine of the document's sketch and the target's, of the chosen source. It says how much the document"
                " helps by itself, whatever its length.",
                SKETCHED,
            ),
        ),
    ),
    Table(
        "attribution_choice",
        (
            Column("configuration", pl.String, "Configuration: source/normalize/gamma."),
            Column("source", pl.String, "What features are computed from.", ("sketches.source",)),
            Column("normalize", pl.String, "Whether features have unit length when subsets are scored: none or unit."),
            Column("gamma", pl.Float64, "Weight of the quadratic term. 0: additive."),
            Column(
                "mean",
                pl.Float64,
                "Mean over targets of the rank correlation of predicted and measured utility, over the calibration"
                " subsets. Null if there were no trials.",
                TRIED,
            ),
            Column("gain", pl.Float64, "Gain of the mean over the additive reference.", TRIED),
            Column("lower_bound", pl.Float64, "Lower bound of the gain.", TRIED),
            Column("upper_bound", pl.Float64, "Upper bound of the gain. Null if choose has none.", TRIED),
            Column("chosen", pl.Boolean, "Whether it is used.", TRIED),
            Column("words", pl.String, "Why it was or was not chosen.", TRIED),
        ),
    ),
    Table(
        "attribution_fidelity",
        (
            Column(
                "configuration",
                pl.String,
                "Configuration, or name of a baseline.",
                ("attribution_choice.configuration",),
            ),
            Column("what", pl.String, "chosen, configuration (another one of the grid), or baseline."),
            Column("target", pl.String, "Target, or 'mean of targets'.", ("target_sketches.target",)),
            Column("kind", pl.String, "Kind of the check subsets: random or structured.", ("trial_subsets.kind",)),
            Column("size", pl.Int64, "Tokens of each subset.", ("trial_subsets.size",)),
            Column("n", pl.Int64, "Number of subsets.", ("trial_subsets.subset_id",)),
            Column("spearman", pl.Float64, "Rank correlation of predicted and measured utility.", TRIED),
            Column("low", pl.Float64, "Lower end of its 95% interval (bootstrap over subsets).", TRIED),
            Column("high", pl.Float64, "Upper end of the interval.", TRIED),
            Column(
                "ceiling",
                pl.Float64,
                "Noise ceiling: rank correlation of the utilities under two seeds. Null if too few subsets have two.",
                ("utilities.utility",),
            ),
            Column("ratio", pl.Float64, "The correlation divided by the ceiling. It says nothing by itself.", TRIED),
            Column("over_additive", pl.Float64, "Difference to the additive score of the same features.", TRIED),
            Column("over_additive_low", pl.Float64, "Lower end of its 95% interval.", TRIED),
            Column("over_additive_high", pl.Float64, "Upper end of the interval.", TRIED),
            Column(
                "seconds",
                pl.Float64,
                "Time to make its features and scores, without the trials.",
                ("sketch_sources.seconds",),
            ),
            Column("flops", pl.Float64, "Floating point operations of its features.", ("sketch_sources.flops",)),
            Column("bytes", pl.Int64, "Bytes of its features on disk.", ("sketch_sources.bytes",)),
            Column("words", pl.String, "What the row says.", TRIED),
        ),
    ),
    Table(
        "attribution_predictions",
        (
            Column(
                "configuration",
                pl.String,
                "Configuration, or name of a baseline.",
                ("attribution_choice.configuration",),
            ),
            Column("subset_id", pl.String, "Trial.", ("trial_subsets.subset_id",)),
            Column("role", pl.String, "calibration or check.", ("trial_subsets.role",)),
            Column("kind", pl.String, "How the trial was put together.", ("trial_subsets.kind",)),
            Column("size", pl.Int64, "Tokens of the trial.", ("trial_subsets.size",)),
            Column("target", pl.String, "Target.", ("target_sketches.target",)),
            Column("predicted", pl.Float64, "Score of the subset. Only its order means something.", SKETCHED),
            Column(
                "utility",
                pl.Float64,
                "Bits per byte that training on the subset takes off the loss, mean over seeds. Null if it failed.",
                ("utilities.utility",),
            ),
        ),
    ),
    Table(
        "attribution_aims",
        (
            Column("target", pl.String, "Target.", ("target_sketches.target",)),
            Column("weight", pl.Float64, "Its weight. 0: it is measured, and nothing is selected for it."),
            Column("combine", pl.String, "How targets are weighed: sum or maxmin."),
            Column("source", pl.String, "Source of the chosen configuration.", ("attribution_choice.source",)),
            Column(
                "normalize",
                pl.String,
                "How features are normalised where documents are ranked: unit for gradients, otherwise as chosen.",
                ("attribution_choice.normalize",),
            ),
            Column("gamma", pl.Float64, "Its gamma.", ("attribution_choice.gamma",)),
            Column("scale", pl.Float64, "Scale s of the quadratic term for this target.", SKETCHED),
            Column("n_items", pl.Int64, "Items that shape the target.", ("target_sketches.n_items",)),
            Column("sketch", VECTOR32, "Sketch of the target, as the score uses it.", ("target_sketches.sketch",)),
            Column(
                "prior",
                pl.Float64,
                "Smoothing of token counts, as a share of the pool's tokens. Null but for cross_entropy.",
                ("sketch_sources.prior",),
                added=True,
            ),
            Column("temperature", pl.Float64, "How sharply maxmin turns to the worst target.", added=True),
        ),
    ),
    Table(
        "attribution_clusters",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("n_tokens", pl.Int64, "Tokens of the cluster.", ("clusters.n_tokens",)),
            Column("sketch", VECTOR32, "Mean sketch of its documents, weighted by tokens.", ("sketches.sketch",)),
        ),
    ),
)
CHECKS = (
    Check("every_document", True, "Every document of the pool has one alignment with each target, from -1 to 1."),
    Check("one_chosen", True, "Exactly one configuration is chosen, and the targets are scored by it."),
    Check("in_range", True, "Correlations are from -1 to 1 and within their intervals."),
    Check("predicts", False, "The chosen configuration orders structured subsets better than by chance."),
    Check("no_worse_than_additive", False, "It is not worse than additive scores of the same features."),
)

stage = Stage(
    name="attribution",
    code_version="2",
    compute=compute,
    description="How much each document helps with each target, by the sketches of the configuration in"
    " `attribution_choice`. `attribution_fidelity` says how well each configuration and each baseline predicts"
    " retraining, on subsets that no choice has seen. `attribution_predictions` has both values of every trial."
    " `attribution_aims` and `attribution_clusters` are what budgets and selections read. A reconstruction of GRASP,"
    " which is public only as an abstract. Not used unless settings/selection.rule is greedy or budget.base is grasp.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "clusters", "attribution_targets", "sketches", "counterfactuals"),
    reads={
        "attribution": (
            *field_names(Attribution, "aim", "choice"),
            *("source", "candidates", "seed", "seeds"),
        )
    },
    left_out={"counterfactuals": no_trials},
    picture=True,
    facts=facts,
    group="attribution",
    unused=no_attribution,
    unused_by=("budget", "selection"),
    otherwise="code or the package of DSIR changed",
)
