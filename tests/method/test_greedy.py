"""The greedy selection against a slow copy, its certificate against all that is possible, and mixtures [spec 4.9, 3, 6, 10]."""

from itertools import combinations

import numpy as np
import pytest
from logistic_toy import Toy
from scipy.optimize import minimize

from grip_assets.errors import GripError
from grip_assets.method.attribution import greedy, simplex, surrogate
from grip_assets.method.attribution.greedy import Pool, bound, select
from grip_assets.method.attribution.objective import Aim
from grip_assets.runtime import threads


def rng(seed=0):
    return np.random.default_rng(seed)


def pool_of(phi, tokens=None, block=97, **more):
    tokens = np.ones(len(phi), np.int64) if tokens is None else tokens
    return Pool(lambda: (phi[i : i + block] for i in range(0, len(phi), block)), tokens, **more)


def planted(n=500, f=12, seed=0):
    """Sketches with a common direction, lengths with a heavy tail, three targets."""
    r = rng(seed)
    phi = (r.normal(size=(n, f)) + 0.3).astype(np.float16)
    return phi, r.lognormal(4, 1, n).astype(np.int64) + 1, r.normal(size=(3, f)) + 0.3


def aim_of(phi, tokens, target, gamma=1.0, unit=False, **more):
    scale = surrogate.scale(target, surrogate.pool_of([(phi, tokens)], unit))
    return Aim(target, scale, gamma, **more)


def slow(phi, tokens, g, lam, budget, unit=False):
    """One document after the other, all gains computed again for each, in float64."""
    phi = phi.astype(np.float64)
    if unit:
        phi = phi / np.linalg.norm(phi, axis=1, keepdims=True)
    left, rows, v, still = budget, [], np.zeros(phi.shape[1]), np.ones(len(phi), bool)
    while (fits := np.flatnonzero(still & (tokens <= left))).size:
        gain = phi[fits] @ (g - lam * v) - lam / 2 * tokens[fits] / budget * (phi[fits] ** 2).sum(axis=1)
        best = fits[np.argmax(gain)]
        rows.append(best)
        v, left, still[best] = v + tokens[best] / budget * phi[best], left - tokens[best], False
    return rows


def utility_of(phi, tokens, rows, g, lam, budget):
    v = tokens[rows] @ phi[rows].astype(np.float64) / budget
    return g @ v - lam / 2 * v @ v


@pytest.mark.parametrize("unit", [False, True])
def test_documents_are_taken_as_by_a_slow_copy_and_the_utility_is_theirs_after_every_one(unit):
    phi, tokens, target = planted()
    budget, aim = int(tokens.sum() * 0.15), aim_of(phi, tokens, target[0], unit=unit)
    found = select(pool_of(phi, tokens, unit=unit), budget, aim)
    (g,), (lam,) = aim.goals
    assert found.row_M.tolist() == slow(phi, tokens, g, lam, budget, unit)
    used = surrogate.unit(phi) if unit else phi
    again = [utility_of(used, tokens, found.row_M[:m], g, lam, budget) for m in range(1, len(found.row_M) + 1)]
    assert np.abs(found.gain_M.cumsum() - again).max() < 1e-8 * max(1, np.abs(again).max()) * (100 if unit else 1)
    share = tokens[found.row_M] / budget
    own = lam / 2 * share * (used[found.row_M].astype(np.float64) ** 2).sum(axis=1)
    assert found.gain_M == pytest.approx(share * (found.alignment_M - found.covered_M - own), abs=1e-7)
    v = surrogate.means(used, tokens, [found.row_M])
    assert found.utility == pytest.approx(surrogate.utility(g, v, 1.0, np.array([lam]))[0, 0], rel=1e-5)


def test_the_result_depends_on_no_blocks_no_order_and_no_number_of_threads(monkeypatch):
    phi, tokens, target = planted(3000)
    phi[1500:1600] = phi[:100]  # copies, so that there are ties
    tokens[1500:1600] = tokens[:100]
    group, ids, order = rng(1).integers(0, 4, 3000), np.arange(3000), rng(2).permutation(3000)
    group[1500:1600] = group[:100]
    room = np.bincount(group, tokens) // np.array([5, 9, 20, 50])
    aim = aim_of(phi, tokens, surrogate.unit(target), unit=True, combine="maxmin")
    plain = select(pool_of(phi, tokens, group_N=group, order_N=ids, unit=True), room, aim)
    monkeypatch.setattr(greedy, "ROWS", 61)
    monkeypatch.setattr(threads, "default_workers", lambda: 3)
    moved = pool_of(phi[order], tokens[order], 500, group_N=group[order], order_N=ids[order], unit=True)
    other = select(moved, room, aim)
    assert order[other.row_M].tolist() == plain.row_M.tolist()
    assert other.gain_M.tobytes() == plain.gain_M.tobytes()


def shares_of(n=400, f=30, seed=0):
    """Documents as shares of tokens, of one of three kinds, some of them copies; the pool's shares; two targets."""
    r = rng(seed)
    kinds, tokens = r.dirichlet(np.full(f, 0.2), 3), r.lognormal(5, 1, n).astype(np.int64) + 1
    kinds[:, f - 1] = 0  # a token of the second target that no document has
    counts = np.stack([r.multinomial(t, kinds[i % 3] / kinds[i % 3].sum()) for i, t in enumerate(tokens)])
    counts[20:60] = counts[10]
    tokens = counts.sum(axis=1)
    phi = (1024 * counts / tokens[:, None]).astype(np.float16)
    pool = tokens @ phi.astype(np.float64) / tokens.sum()
    target = 7 * np.stack([kinds[0] + kinds[1], kinds[2] + 0.02])
    return phi, tokens, pool, target


def counted_aim(pool, target, prior=2e-3, **more):
    return Aim(target, np.ones(len(np.atleast_2d(target))), 1.0, pool_F=pool, prior=prior, **more)


def slow_entropy(phi, tokens, rows, pool, target, prior, room):
    """Σ p log (p_S / q), where the rows' counts are smoothed by prior tokens of the pool, in a budget of ``room``."""
    there = pool > 0
    p = (target / target.sum())[there]
    counts = tokens[rows] @ phi[rows].astype(np.float64)[:, there]
    smooth = prior * tokens.sum()
    model = (counts + smooth * pool[there]) / (room + smooth)
    return float(p @ np.log(model / pool[there]))


def test_by_cross_entropy_documents_are_taken_as_by_a_slow_copy_and_the_utility_is_that_of_the_smoothed_unigram():
    phi, tokens, pool, target = shares_of()
    budget, prior = int(tokens.sum() * 0.1), 2e-3
    found = select(pool_of(phi, tokens), budget, counted_aim(pool, target[1], prior))
    rows, left, still = [], budget, np.ones(len(phi), bool)
    now = slow_entropy(phi, tokens, rows, pool, target[1], prior, budget)
    while (fits := np.flatnonzero(still & (tokens <= left))).size:
        utility = [slow_entropy(phi, tokens, [*rows, i], pool, target[1], prior, budget) for i in fits]
        best = int(np.argmax((np.array(utility) - now) / tokens[fits]))
        rows.append(int(fits[best]))
        now, left, still[rows[-1]] = utility[best], left - tokens[rows[-1]], False
    assert found.row_M.tolist() == rows
    assert found.utility == pytest.approx(slow_entropy(phi, tokens, rows, pool, target[1], prior, found.tokens))
    assert found.utility > slow_entropy(phi, tokens, np.arange(len(phi)), pool, target[1], prior, tokens.sum())
    assert found.covered_M[0] == pytest.approx(0, abs=1e-9) and found.alignment_M[0] > 0
    assert (found.gain_M >= 0).all() and found.v_F[-1] == 0


@pytest.mark.parametrize("combine", ["sum", "maxmin"])
def test_no_selection_by_cross_entropy_is_above_its_bound(combine):
    phi, _, pool, target = shares_of(11, 12, 3)
    tokens, aim = np.ones(11, np.int64), counted_aim(pool, target, 0.02, combine=combine)
    found = select(pool_of(phi, tokens), 4, aim)
    goals = aim.objective(4 / 11)
    best = max(
        goals.values(phi[list(rows)].astype(np.float64).sum(axis=0) / 4).min() for rows in combinations(range(11), 4)
    )
    for iterations in (1, 8):
        assert bound(pool_of(phi, tokens), 4, aim, found, iterations).bound >= best - 1e-9
    assert found.utility <= best + 1e-12
    phi, tokens, pool, target = shares_of(2000)
    aim = counted_aim(pool, target, combine=combine)
    certificate = bound(
        pool_of(phi, tokens), int(tokens.sum() * 0.1), aim, select(pool_of(phi, tokens), int(tokens.sum() * 0.1), aim)
    )
    assert certificate.share > (0.97 if combine == "sum" else 0.0) and "of the relaxed optimum" in certificate.words


def nothing_known(taking, view, rows, dot_C):
    return np.full(len(rows), np.inf)


def of_both_kinds(kind):
    """(features, tokens, aim) of a pool that takes several rounds, with copies."""
    if kind == "cross_entropy":
        phi, tokens, pool, target = shares_of(3000)
        return phi, tokens, counted_aim(pool, target)
    phi, tokens, target = planted(3000)
    phi[1500:1600] = phi[:100]
    return phi, tokens, aim_of(phi, tokens, target, unit=kind == "unit")


@pytest.mark.parametrize("kind", ["quadratic", "unit", "cross_entropy"])
def test_looking_at_few_documents_gives_what_looking_at_all_gives_bit_for_bit(kind, monkeypatch):
    """The reference computes the gains of all documents again, from blocks that are read again in every round."""
    monkeypatch.setattr(greedy, "FEW", 20)
    monkeypatch.setattr(greedy, "BATCH", 8)
    phi, tokens, aim = of_both_kinds(kind)
    group = rng(1).integers(0, 5, len(phi))

    looked, real = [], greedy._Taking.exact

    def counting(taking, view, rows, x_CF):
        looked.append(len(rows))
        return real(taking, view, rows, x_CF)

    def both(room, **more):
        pool, found = pool_of(phi, tokens, unit=kind == "unit", **more), []
        for memory, screened in ((2**30, greedy._Taking.screened), (0, nothing_known)):
            looked.clear()
            with monkeypatch.context() as patched:
                patched.setattr(greedy, "limit_bytes", lambda memory=memory: memory)
                patched.setattr(greedy._Taking, "screened", screened)
                patched.setattr(greedy._Taking, "exact", counting)
                found.append((select(pool, room, aim, 12), sum(looked)))
        (few, n_few), (every, n_every) = found
        assert few.row_M.tolist() == every.row_M.tolist() and few.gain_M.tobytes() == every.gain_M.tobytes()
        assert few.v_F.tobytes() == every.v_F.tobytes()
        return n_few / n_every

    assert both(int(tokens.sum() * 0.1)) < 0.8, "and it computes fewer"
    both(np.bincount(group, tokens) // np.array([3, 9, 20, 50, 5]), group_N=group)


def test_features_are_kept_in_memory_as_far_as_it_allows(monkeypatch):
    phi, tokens, target = planted(300)
    aim, reads = aim_of(phi, tokens, target), []

    def blocks():
        reads.append(1)
        return [phi[:200], phi[200:]]

    found = {}
    for memory, times in ((4 * phi.size * 2, 1), (4 * phi.size, 1), (phi.size, 4)):
        reads.clear()
        monkeypatch.setattr(greedy, "limit_bytes", lambda memory=memory: memory)
        found[memory] = select(Pool(blocks, tokens), int(tokens.sum() * 0.2), aim, 3).row_M.tolist()
        assert len(reads) >= times and (times > 1 or len(reads) == 1)
    assert len({tuple(rows) for rows in found.values()}) == 1


def test_rounds_over_a_large_pool_lose_little_against_one_document_at_a_time(monkeypatch):
    monkeypatch.setattr(greedy, "FEW", 20)
    monkeypatch.setattr(greedy, "WORK", 0)
    phi, tokens, target = planted(3000)
    budget, aim = int(tokens.sum() * 0.1), aim_of(phi, tokens, target[0])
    (g,), (lam,) = aim.goals
    exact = utility_of(phi, tokens, slow(phi, tokens, g, lam, budget), g, lam, budget)
    passes = []
    found = select(pool_of(phi, tokens), budget, aim, rounds=16, log=passes.append)
    assert found.gain_M.sum() > 0.999 * exact and 16 <= len(passes) <= 22
    assert len(set(found.row_M)) == len(found.row_M)
    assert budget - found.tokens < np.delete(tokens, found.row_M).min()


def test_duplicates_are_not_taken_again_and_again():
    """A pool of 600 and three more copies of the 100 best: top-additive takes copies, the greedy selection does not."""
    toy = Toy()
    best = np.argsort(-(toy.phi_ND @ toy.target_TD[0]))[:100]
    phi = np.concatenate([toy.phi_ND, *[toy.phi_ND[best]] * 3]).astype(np.float32)
    original = np.concatenate([np.arange(600), best, best, best])
    aim = aim_of(phi, np.ones(900), toy.target_TD[0])
    found = select(pool_of(phi), 90, aim)
    additive = select(pool_of(phi), 90, Aim(aim.target_TF, aim.scale_T, 0.0))
    distinct, by_score = len(set(original[found.row_M])), len(set(original[additive.row_M]))
    assert set(original[additive.row_M]) == set(original[np.argsort(-(phi @ toy.target_TD[0]), kind="stable")[:90]])
    assert by_score <= 30 and distinct > 1.5 * by_score


def test_the_bound_is_above_everything_and_near_the_greedy_selection():
    toy = Toy()
    phi = toy.phi_ND.astype(np.float32)
    aim = aim_of(phi, np.ones(600), toy.target_TD[0])
    found = select(pool_of(phi), 60, aim)
    certificate = bound(pool_of(phi), 60, aim, found)
    assert certificate.utility == pytest.approx(found.utility)
    assert certificate.bound >= certificate.utility >= 0.95 * certificate.bound
    assert "of the relaxed optimum" in certificate.words
    (g,), (lam,) = aim.goals
    top = utility_of(phi, np.ones(600), np.argsort(-(phi @ g))[:60], g, lam, 60)
    assert top < found.utility


@pytest.mark.parametrize("combine", ["sum", "maxmin"])
@pytest.mark.parametrize("seed", range(4))
def test_no_selection_of_a_small_pool_is_above_the_bound(combine, seed):
    phi, _, target = planted(11, 3, seed)
    target = surrogate.unit(target - 0.6)  # many documents pull the wrong way
    aim, tokens = aim_of(phi, np.ones(11), target, combine=combine, weight_T=np.array([1, 0.5, 0])), np.ones(11)
    found = select(pool_of(phi), 4, aim)
    assert len(found.row_M) == 4
    goals, curves = aim.goals
    best = max(
        min(utility_of(phi, tokens, list(rows), g, c, 4) for g, c in zip(goals, curves, strict=True))
        for rows in combinations(range(11), 4)
    )
    for iterations in (1, 8):
        assert bound(pool_of(phi), 4, aim, found, iterations).bound >= best - 1e-12
    assert found.utility <= best + 1e-12


def test_more_iterations_never_loosen_the_bound():
    phi, tokens, target = planted()
    group = rng(1).integers(0, 5, 500)
    room = np.bincount(group, tokens) // np.array([3, 5, 9, 20, 1])
    aim = aim_of(phi, tokens, target)
    pool = pool_of(phi, tokens, group_N=group)
    found = select(pool, room, aim)
    bounds = [bound(pool, room, aim, found, n).bound for n in (1, 3, 8)]
    assert bounds[0] >= bounds[1] >= bounds[2] >= found.gain_M.sum()
    assert (np.bincount(group[found.row_M], tokens[found.row_M], 5) <= room).all()


def test_maxmin_serves_the_worst_target_better_than_the_sum():
    phi, tokens, _ = planted(800, 12)
    target = surrogate.unit(np.eye(12)[:3] * [[1], [0.7], [1]] + 0.02)
    phi[:, 1] -= 0.5  # the second target is hard to serve
    aims = [aim_of(phi, tokens, target, 0.3, combine=combine) for combine in ("sum", "maxmin")]
    results = [select(pool_of(phi, tokens), int(tokens.sum() * 0.1), aim) for aim in aims]
    rows = [found.row_M for found in results]
    v = surrogate.means(phi, tokens, rows)
    each = surrogate.utility(target, v, 0.3, aims[0].scale_T)
    assert each[:, 1].min() > each[:, 0].min() and each[:, 0].sum() > each[:, 1].sum()
    assert results[1].utility == pytest.approx(each[:, 1].min())


def test_a_document_that_does_not_fit_is_skipped_and_shorter_ones_fill_the_rest():
    phi = np.array([[3.0], [2.0], [1.0], [0.5]], np.float32)
    found = select(pool_of(phi, np.array([50, 60, 30, 20])), 100, Aim(np.ones(1), np.ones(1), 0.0))
    assert found.row_M.tolist() == [0, 2, 3] and found.tokens == found.budget == 100
    none = select(pool_of(phi, np.array([500, 600, 300, 200])), 100, Aim(np.ones(1), np.ones(1), 0.0))
    assert not len(none.row_M) and none.utility == 0 and none.tokens == 0
    assert bound(pool_of(phi, np.array([500, 600, 300, 200])), 100, Aim(np.ones(1), np.ones(1), 0.0), none).bound == 0


def test_a_budget_above_the_pool_takes_every_document_once():
    phi, tokens, target = planted(60)
    found = select(pool_of(phi, tokens), int(tokens.sum()) * 3, aim_of(phi, tokens, target))
    assert sorted(found.row_M.tolist()) == list(range(60)) and found.budget == tokens.sum()


def test_a_budget_is_filled_with_documents_that_harm_unless_it_is_only_a_limit():
    phi = -np.abs(rng().normal(size=(40, 3))).astype(np.float32)
    aim = Aim(np.ones(3), np.ones(1), 0.5)
    filled = select(pool_of(phi), 10, aim)
    assert len(filled.row_M) == 10 and (filled.gain_M < 0).all()
    assert not len(select(pool_of(phi), 10, aim, at_most=True).row_M)
    words = bound(pool_of(phi), 10, aim, filled).words
    assert words.startswith("no selection has a utility above −")
    mixed = np.concatenate([phi, -phi[:4]])
    assert set(select(pool_of(mixed), 10, aim, at_most=True).row_M) <= {40, 41, 42, 43}


def test_equal_documents_zeros_and_one_document_are_taken_in_the_order_of_ids():
    order = np.array([3, 1, 2, 0, 4])
    for phi in (np.ones((5, 2), np.float16), np.zeros((5, 2), np.float16)):
        for unit in (False, True):
            found = select(pool_of(phi, order_N=order, unit=unit), 3, Aim(np.ones(2), np.ones(1), 1.0))
            assert found.row_M.tolist() == [3, 1, 2] and np.isfinite(found.gain_M).all()
    nothing = select(pool_of(rng().normal(size=(5, 2)), order_N=order), 3, Aim(np.zeros(2), np.zeros(1), 1.0))
    assert nothing.row_M.tolist() == [3, 1, 2] and nothing.utility == 0
    assert select(pool_of(np.ones((1, 2))), 1, Aim(np.ones(2), np.ones(1), 1.0)).row_M.tolist() == [0]
    assert not len(select(pool_of(np.ones((0, 2))), 1, Aim(np.ones(2), np.ones(1), 1.0)).row_M)


def test_documents_without_tokens_or_leave_are_not_taken():
    phi, tokens = np.ones((4, 2), np.float16), np.array([0, 5, 5, 5])
    may = np.array([True, False, True, True])
    assert select(pool_of(phi, tokens, may_N=may), 100, Aim(np.ones(2), np.ones(1), 1.0)).row_M.tolist() == [2, 3]


def test_sketches_that_are_not_finite_or_not_those_of_the_pool_are_refused():
    phi, tokens, target = planted(50)
    phi[33, 0] = np.inf
    aim = Aim(target[0], np.ones(1), 1.0)
    with pytest.raises(GripError, match="row 33 are not finite"):
        select(pool_of(phi, tokens, block=10), 100, aim)
    for there, said in ((40, "40 sketches of 50"), (60, "60 sketches of 50")):
        with pytest.raises(GripError, match=said):
            select(Pool(lambda n=there: [np.ones((n, 12))], tokens), 100, aim)
    with pytest.raises(GripError, match="12 numbers, and targets 5"):
        select(pool_of(phi, tokens), 100, Aim(np.ones(5), np.ones(1), 1.0))
    with pytest.raises(GripError, match="not finite"):
        select(pool_of(phi, tokens), 100, Aim(np.full(12, np.nan), np.ones(1), 1.0))


# ---------------------------------------------------------------------------------------------------------- mixtures


@pytest.mark.parametrize("seed", range(5))
def test_the_best_mixture_is_that_of_a_slow_solver(seed):
    mean, target = rng(seed).normal(size=(8, 5)), rng([seed, 1]).normal(size=5)
    cap = None if seed % 2 else rng(seed).uniform(0.15, 0.4, 8)

    def cost(x, lam=0.7):
        v = x @ mean
        return -(target @ v - lam / 2 * v @ v)

    found = simplex.mixture(mean, target, 0.7, cap)
    theirs = minimize(
        cost,
        np.full(8, 1 / 8),
        method="SLSQP",
        bounds=[(0, 1 if cap is None else c) for c in (np.ones(8) if cap is None else cap)],
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert found.sum() == pytest.approx(1) and found.min() >= 0 and (cap is None or (found <= cap + 1e-12).all())
    assert cost(found) <= theirs.fun + 1e-8


def test_a_mixture_without_curvature_fills_the_best_clusters_to_their_caps():
    mean = np.array([[3.0], [1.0], [2.0]])
    assert simplex.mixture(mean, np.ones(1), 0.0).tolist() == [1, 0, 0]
    assert simplex.mixture(mean, np.ones(1), 0.0, np.array([0.5, 1, 0.3])) == pytest.approx([0.5, 0.2, 0.3])
    assert simplex.mixture(mean[:1], np.ones(1), 2.0).tolist() == [1]
    with pytest.raises(GripError, match="only 60% of a mixture"):
        simplex.mixture(mean, np.ones(1), 0.0, np.full(3, 0.2))
    with pytest.raises(GripError, match="not finite"):
        simplex.mixture(mean * np.nan, np.ones(1), 1.0)


def test_clusters_that_are_alike_share_as_they_did_at_the_start():
    mean = np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
    found = simplex.mixture(mean, np.array([1.0, 0.5]), 1.0, start_K=np.array([0.6, 0.2, 0.2]))
    assert found[0] > found[1] > 0 and found.sum() == pytest.approx(1)
    assert simplex.mixture(np.zeros((3, 2)), np.zeros(2), 1.0, start_K=np.array([0.5, 0.3, 0.2])) == pytest.approx(
        [0.5, 0.3, 0.2]
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_best_mixture_by_cross_entropy_is_that_of_a_slow_solver(seed):
    mean = rng(seed).dirichlet(np.full(12, 0.3), 6)
    pool, target = mean.mean(axis=0), rng([seed, 1]).dirichlet(np.full(12, 0.3))
    aim, cap = counted_aim(pool, target, 0.01), None if seed % 2 else np.full(6, 0.4)
    goals = aim.objective(0.1)
    found = aim.mixture(mean, 0.1, cap)
    theirs = minimize(
        lambda x: -goals.values(x @ mean)[0], np.full(6, 1 / 6), method="SLSQP",
        bounds=[(0, 1 if cap is None else 0.4)] * 6, constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-13, "maxiter": 1000},
    )  # fmt: skip
    assert found.sum() == pytest.approx(1) and found.min() >= 0 and (cap is None or found.max() <= 0.4 + 1e-12)
    assert -goals.values(found @ mean)[0] <= theirs.fun + 1e-8


@pytest.mark.parametrize("kind", ["quadratic", "cross_entropy"])
@pytest.mark.parametrize("seed", range(3))
def test_the_fairest_mixture_leaves_the_worst_target_best_off(kind, seed):
    if kind == "quadratic":
        mean, target = rng(seed).normal(size=(6, 5)), surrogate.unit(rng([seed, 1]).normal(size=(3, 5)))
        aim = Aim(target, np.array([0.5, 0.7, 1.0]), 1.0, np.array([1.0, 2.0, 1.0]), "maxmin")
    else:
        mean, target = rng(seed).dirichlet(np.full(12, 0.3), 6), rng([seed, 1]).dirichlet(np.full(12, 0.3), 3)
        aim = counted_aim(mean.mean(axis=0), target, 0.01, combine="maxmin", weight_T=np.array([1.0, 2.0, 1.0]))
    cap, goals = np.full(6, 0.5), aim.objective(0.1)
    found = aim.mixture(mean, 0.1, cap)
    worst = goals.values(found @ mean).min()
    theirs = minimize(  # the least utility is the last variable
        lambda x: -x[-1], np.append(np.full(6, 1 / 6), goals.values(mean.mean(axis=0)).min()), method="SLSQP",
        bounds=[(0, 0.5)] * 6 + [(None, None)],
        constraints=[
            {"type": "eq", "fun": lambda x: x[:6].sum() - 1},
            {"type": "ineq", "fun": lambda x: goals.values(x[:6] @ mean) - x[-1]},
        ],
        options={"ftol": 1e-12, "maxiter": 1000},
    )  # fmt: skip
    assert found.sum() == pytest.approx(1) and found.min() >= 0 and found.max() <= 0.5 + 1e-9
    assert worst >= -theirs.fun - 1e-6 * np.abs(goals.values(found @ mean)).max()
    summed = Aim(aim.target_TF, aim.scale_T, 1.0, aim.weight_T, "sum", aim.pool_F, aim.prior).mixture(mean, 0.1, cap)
    assert goals.values(summed @ mean).min() <= worst + 1e-9


def test_the_projection_is_the_nearest_point():
    for seed in range(20):
        point, cap = rng(seed).normal(size=6), rng([seed, 1]).uniform(0.2, 1, 6)
        found = simplex.project(point, cap)
        assert found.sum() == pytest.approx(1) and (found >= 0).all() and (found <= cap + 1e-12).all()
        for other in range(50):
            rival = simplex.project(rng([seed, other]).normal(size=6), cap)
            assert (point - found) @ (rival - found) <= 1e-9  # no allowed direction leads nearer


def test_the_mixture_of_all_documents_as_clusters_bounds_every_selection():
    phi, _, target = planted(40)
    aim = aim_of(phi, np.ones(40), target[0])
    (g,), (lam,) = aim.goals
    weights = simplex.mixture(phi.astype(np.float64), g, lam, np.full(40, 1 / 10))
    v = weights @ phi.astype(np.float64)
    found = select(pool_of(phi), 10, aim)
    assert g @ v - lam / 2 * v @ v >= found.utility
    assert bound(pool_of(phi), 10, aim, found, 15).bound == pytest.approx(g @ v - lam / 2 * v @ v, rel=0.01)
