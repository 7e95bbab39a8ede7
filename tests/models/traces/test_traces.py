"""The mathematics of time courses, against truth and independent programs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LogisticRegression, Ridge

from nonneg.models.traces.averages import average
from nonneg.models.traces.blocks import contiguous_folds
from nonneg.models.traces.cca import (
    Groups,
    canonical_pair,
    held_out_correlations,
    shifted_correlations,
    top_correlations,
    whitening,
)
from nonneg.models.traces.classify import classify
from nonneg.models.traces.demixed import demix, marginals
from nonneg.models.traces.epochs import frames_before, windows
from nonneg.models.traces.labels import subject_test
from nonneg.models.traces.logistic import fit_log_odds
from nonneg.models.traces.match import cosines, match_within
from nonneg.models.traces.regress import _PENALTIES, lagged, ridge, shifted
from nonneg.models.traces.resample import frame_means, interpolate
from nonneg.models.traces.seeds import seed_correlations
from nonneg.models.traces.timescale import correlation_time


def slow(n, k, tau, rng):
    """Independent AR(1) signals."""
    phi = np.exp(-1 / tau)
    noise = rng.standard_normal((n + 10 * tau, k))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[10 * tau :]


def correlations(x, codes):
    x = x - x.mean(axis=0)
    groups = Groups.of(codes, codes.max() + 1)
    covariance = x.T @ x / len(x)
    w, _ = whitening(covariance, groups)
    return top_correlations(w.T @ covariance @ w, groups), w, groups


CODES = np.repeat([0, 1, 2], [2, 4, 3])


def test_top_correlation_is_the_largest_there_is():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 9)) @ rng.standard_normal((9, 9)) + 5
    r, _, _ = correlations(x, CODES)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        a, b = x[:, i == CODES], x[:, j == CODES]
        # Björck and Golub: cosines of the angles between the two spaces.
        qa, qb = (np.linalg.qr(y - y.mean(0))[0] for y in (a, b))
        assert r[i, j] == pytest.approx(np.linalg.norm(qa.T @ qb, 2), abs=1e-10)
        u, v = CCA(1, max_iter=5000, tol=1e-12).fit(a, b).transform(a, b)
        assert r[i, j] == pytest.approx(np.corrcoef(u[:, 0], v[:, 0])[0, 1], abs=1e-4)
        found, left, right = canonical_pair(a, b)
        assert found == pytest.approx(r[i, j])
        assert np.corrcoef(left, right)[0, 1] == pytest.approx(r[i, j])
    np.testing.assert_allclose(r, r.T)
    np.testing.assert_allclose(np.diag(r), 1)


def test_correlations_do_not_depend_on_units_or_mixing():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 9)) @ rng.standard_normal((9, 9))
    r, _, _ = correlations(x, CODES)
    mixed = np.concatenate(
        [
            x[:, i == CODES] @ rng.standard_normal((n, n))
            for i, n in enumerate([2, 4, 3])
        ],
        axis=1,
    )
    np.testing.assert_allclose(correlations(1000 * mixed - 7, CODES)[0], r, atol=1e-8)
    order = rng.permutation(9)
    np.testing.assert_allclose(
        correlations(x[:, order], CODES[order])[0], r, atol=1e-10
    )


def test_directions_without_variance_do_not_count():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 9))
    twice = x.copy()
    twice[:, 3] = 2 * twice[:, 2]  # a component that another one has already
    fewer = np.delete(twice, 3, axis=1)
    r, _, _ = correlations(twice, CODES)
    np.testing.assert_allclose(
        r, correlations(fewer, np.delete(CODES, 3))[0], atol=1e-8
    )


def test_shifted_correlations_are_those_of_shifted_traces():
    rng = np.random.default_rng(3)
    x = slow(400, 9, 5, rng)
    _, w, groups = correlations(x, CODES)
    x = x - x.mean(axis=0)
    q = (x @ w / 20).astype(np.float32)
    shifts = np.array([30, 77])
    (found,) = shifted_correlations(q, shifts, groups)
    assert found.shape == (4, 3, 3)
    moved = x.copy()
    moved[:, CODES == 1] = np.roll(x[:, CODES == 1], -77, axis=0)
    expected = correlations(moved, CODES)[0][0, 1]
    np.testing.assert_allclose(found[1, [0, 1], [1, 0]], expected, rtol=1e-4)
    moved[:, CODES == 1] = np.roll(x[:, CODES == 1], 77, axis=0)
    assert found[3, 0, 1] == pytest.approx(
        correlations(moved, CODES)[0][0, 1], rel=1e-4
    )


def test_held_out_correlations():
    rng = np.random.default_rng(4)
    x = slow(6000, 9, 19, rng)
    shared = slow(6000, 1, 19, rng)[:, 0]
    for column in (0, 2):  # r = .5
        x[:, column] = (x[:, column] + shared) * np.sqrt(0.5)
    in_sample, _, groups = correlations(x, CODES)
    held_out = held_out_correlations(x, groups, n_folds=5, gap=19)
    assert held_out[0, 1] == pytest.approx(0.5, abs=0.1)
    # Of independent regions, what is in-sample is fitted.
    assert in_sample[0, 2] > 0.08
    assert abs(held_out[0, 2]) < 0.1
    np.testing.assert_allclose(held_out, held_out.T, atol=1e-8)


def test_correlation_time():
    x = slow(100_000, 3, 19, np.random.default_rng(0))
    assert abs(correlation_time(x) - 19) <= 2
    assert correlation_time(np.zeros((10, 2))) == 1


def test_folds_leave_gaps():
    folds = contiguous_folds(103, 5, 4)
    held = np.concatenate([np.arange(fold.start, fold.stop) for fold in folds])
    np.testing.assert_array_equal(held, np.arange(103))
    for fold in folds:
        near = np.arange(max(0, fold.start - 4), min(103, fold.stop + 4))
        assert not fold.train(103)[near].any()
        assert fold.train(103).sum() == 103 - near.size


def test_seed_correlations_are_those_of_the_video():
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((50, 6)), rng.standard_normal((300, 6)) + 3
    u[7] = 0
    video = u @ v.T
    found = seed_correlations(u, v, [np.array([4]), np.array([1, 2, 3])])
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(np.vstack([video, video[4], video[1:4].mean(0)]))
    np.testing.assert_allclose(found, expected[:50, 50:], atol=1e-8)
    assert np.isnan(found[7]).all()


def test_averages():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3))
    x[0, 1] = np.nan
    found = average(x, 0.95)
    np.testing.assert_allclose(found.mean, np.nanmean(x, axis=0))
    np.testing.assert_allclose(found.median, np.nanmedian(x, axis=0))
    n = np.array([20, 19, 20])
    np.testing.assert_allclose(found.sem, np.nanstd(x, axis=0, ddof=1) / np.sqrt(n))
    # Textbook ranks: 6th and 15th of 20.
    assert found.low[0] == np.sort(x[:, 0])[5]
    assert found.high[0] == np.sort(x[:, 0])[14]
    few = average(x[:5], 0.95)
    assert np.isnan(few.low).all()
    assert np.isnan(average(x[:1], 0.95).sem).all()


@pytest.mark.parametrize("n", [6, 15, 40])
def test_interval_of_the_median_covers_it(n):
    rng = np.random.default_rng(n)
    x = rng.exponential(size=(n, 4000))
    found = average(x, 0.95)
    covered = (found.low <= np.log(2)) & (np.log(2) <= found.high)
    assert 0.94 < covered.mean() < 0.99


def test_windows_look_back_only():
    time = np.arange(100) / 30
    # Just before a frame, on it, and just after.
    events = time[40] + np.array([-1e-3, 0, 1e-3])
    np.testing.assert_array_equal(frames_before(time, events), [39, 40, 40])
    found = windows(time, events, (-0.67, 0))
    assert found.frame.shape == (3, 21)  # the paper's 21 frames
    np.testing.assert_array_equal(found.frame[:, -1], [39, 40, 40])
    np.testing.assert_array_equal(found.frame[1], np.arange(20, 41))
    assert found.inside.all()
    assert windows(time, time[[5, 97]], (-0.2, 0.2)).inside.tolist() == [False, False]
    # Rounding does not move events to another frame.
    events = np.arange(1, 100) * (1 / 30)
    assert (events < time[1:]).any()
    for some in (events, events - 1e-9, time[1:].round(4)):
        np.testing.assert_array_equal(frames_before(time, some), np.arange(1, 100))


def test_windows_over_dropped_frames():
    time = np.delete(np.arange(100) / 30, [50, 51])
    found = windows(time, np.array([49 / 30]), (0, 0.2))
    np.testing.assert_array_equal(found.frame[0], [49, -1, -1, 50, 51, 52, 53])


def planted(rng, *, sides=2, n_times=30):
    """Averages with one direction of time and one of side."""
    t = np.linspace(0, 1, n_times)
    basis = np.linalg.qr(rng.standard_normal((12, 3)))[0]
    x = np.zeros((12, n_times, sides, 3))
    x += 3 * np.einsum("k,t->kt", basis[:, 0], np.sin(5 * t))[..., None, None]
    for side in range(sides):
        x[:, :, side] += (2 * side - 1) * np.outer(basis[:, 1], t)[..., None]
    x += 0.5 * np.arange(3) * basis[:, 2][:, None, None, None]
    return x, basis


def test_marginals_are_orthogonal_and_sum_up():
    x = np.random.default_rng(0).standard_normal((5, 7, 2, 3))
    parts = marginals(x, ["side", "lick"])
    assert list(parts) == ["time", "side", "lick", "side x lick"]
    # Whatever factors are called.
    for part, same in zip(
        parts.values(), marginals(x, ["side", "a x b"]).values(), strict=True
    ):
        np.testing.assert_array_equal(part, same)
    centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(sum(parts.values()), centred, atol=1e-12)
    flat = {name: part.reshape(5, -1) for name, part in parts.items()}
    for one, other in combinations(flat.values(), 2):
        np.testing.assert_allclose((one * other).sum(axis=1), 0, atol=1e-12)


def test_demixing_finds_what_was_planted():
    x, basis = planted(np.random.default_rng(0))
    found = demix(x, ["side", "lick"], 1, 0.0)
    # What a part consists of is the direction that it was given.
    for name, k in (("time", 0), ("side", 1), ("lick", 2)):
        encoder = found.encoder[:, found.marginal.index(name)]
        assert abs(encoder @ basis[:, k]) > 0.999
    assert found.total == pytest.approx(1)
    np.testing.assert_allclose(found.of_marginals.max(axis=1), 1, atol=1e-6)
    assert sum(found.explained) == pytest.approx(1)


def kobak(x, ridge, n):
    """Kobak et al. (2016), with every average and the augmented regression written out.

    Decoders and encoders of time, side, lick and of both, for traces (K, T, S, D).
    """
    x = x - x.mean(axis=(1, 2, 3))[:, None, None, None]
    ones = np.ones_like(x)
    t = x.mean(axis=(2, 3))[:, :, None, None] * ones
    side = x.mean(axis=3)[:, :, :, None] * ones - t
    lick = x.mean(axis=2)[:, :, None, :] * ones - t
    parts = {"time": t, "side": side, "lick": lick, "side x lick": x - t - side - lick}
    flat = x.reshape(len(x), -1)
    size = ridge * (flat**2).sum() / len(x)
    penalty = np.sqrt(size) * np.eye(len(x))
    augmented = np.hstack([flat, penalty])
    found = {}
    for name, part in parts.items():
        target = np.hstack([part.reshape(len(x), -1), 0 * penalty])
        ridge_solution = np.linalg.lstsq(augmented.T, target.T, rcond=None)[0].T
        u = np.linalg.svd(ridge_solution @ augmented, full_matrices=False)[0][:, :n]
        found[name] = u, ridge_solution.T @ u, part.reshape(len(x), -1)
    return found, flat, size


@pytest.mark.parametrize("ridge", [0.0, 0.01, 1.0])
def test_demixing_is_that_of_the_article(ridge):
    x = np.random.default_rng(2).standard_normal((6, 40, 2, 3))
    x += planted(np.random.default_rng(2), n_times=40)[0][:6]
    n = 2
    found = demix(x, ["side", "lick"], n, ridge)
    expected, flat, size = kobak(x, ridge, n)
    total = (flat**2).sum()
    for name, (encoder, decoder, part) in expected.items():
        columns = [i for i, other in enumerate(found.marginal) if other == name]
        ours, theirs = found.encoder[:, columns], found.decoder[:, columns]
        # Components of a part are in the order of what they explain of everything.
        match = np.abs(ours.T @ encoder).argmax(axis=1)
        assert sorted(match) == [0, 1]
        sign = np.sign((ours * encoder[:, match]).sum(axis=0))
        np.testing.assert_allclose(ours, sign * encoder[:, match], atol=1e-7)
        np.testing.assert_allclose(theirs, sign * decoder[:, match], atol=1e-7)
        for i, k in zip(columns, match, strict=True):
            left = flat - np.outer(encoder[:, k], decoder[:, k] @ flat)
            assert found.explained[i] == pytest.approx(1 - (left**2).sum() / total)
            own = [
                np.square(decoder[:, k] @ other).sum()
                for *_, other in expected.values()
            ]
            purity = own / np.sum(own)
            np.testing.assert_allclose(found.of_marginals[i], purity, atol=1e-8)

        def loss(a, b, part=part):
            return ((part - a @ b.T @ flat) ** 2).sum() + size * ((a @ b.T) ** 2).sum()

        # And no other pair of factors of this rank has a smaller objective.
        best = loss(ours, theirs)
        a = np.random.default_rng(0).standard_normal((6, n))
        gram = flat @ flat.T + size * np.eye(6)
        for _ in range(300):
            b = np.linalg.solve(gram, flat @ part.T @ a) @ np.linalg.inv(a.T @ a)
            a = part @ flat.T @ b @ np.linalg.inv(b.T @ gram @ b)
        assert best <= loss(a, b) * (1 + 1e-9)
        assert best == pytest.approx(loss(a, b), rel=1e-6)


def test_full_demixing_without_penalty_reconstructs_each_part():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 30, 2))
    found = demix(x, ["side"], 4, 0.0)
    flat = x.reshape(4, -1) - x.reshape(4, -1).mean(1, keepdims=True)
    for name, part in marginals(x, ["side"]).items():
        columns = [i for i, other in enumerate(found.marginal) if other == name]
        fitted = found.encoder[:, columns] @ found.decoder[:, columns].T @ flat
        # Least squares: residuals are orthogonal to the regressors.
        left = part.reshape(4, -1) - fitted
        np.testing.assert_allclose(left @ flat.T, 0, atol=1e-8)


def test_ridge_from_sums_is_scikit_learns():
    rng = np.random.default_rng(0)
    x = slow(600, 3, 5, rng) + 2
    y = x @ [1.0, -1, 0.5] + rng.standard_normal(600) + 10
    features = lagged(x, np.array([-2, -1, 0]))
    np.testing.assert_array_equal(features[10, :3], x[8])
    found = ridge(features, y, np.array([100, 250]), n_folds=4, gap=6)
    folds = contiguous_folds(600, 4, 6)
    predicted, left, total = np.empty(600), 0.0, 0.0
    for fold in folds:
        train = fold.train(600)
        errors = []
        for penalty in _PENALTIES:
            error = 0.0
            for inner in folds:
                if inner is fold:
                    continue
                test = train.copy()
                test[: inner.start] = test[inner.stop :] = False
                error += (
                    (
                        fit(features, y, train & inner.train(600), penalty, test)
                        - y[test]
                    )
                    ** 2
                ).sum()
            errors.append(error)
        held = np.zeros(600, bool)
        held[fold.start : fold.stop] = True
        predicted[held] = fit(features, y, train, _PENALTIES[np.argmin(errors)], held)
        left += ((predicted[held] - y[held]) ** 2).sum()
        total += ((y[held] - y[train].mean()) ** 2).sum()
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-6)
    assert found.r2 == pytest.approx(1 - left / total)
    assert found.r2 > 0.4
    assert found.null.shape == (2,)
    alone = ridge(
        features, shifted(y, np.array([250]))[:, 0], np.empty(0, int), n_folds=4, gap=6
    )
    assert found.null[1] == pytest.approx(alone.r2)


def fit(x, y, train, penalty, test):
    centred = x[train] - x[train].mean(axis=0)
    alpha = penalty * np.trace(centred.T @ centred) / x.shape[1]
    return Ridge(alpha).fit(x[train], y[train]).predict(x[test])


@pytest.mark.parametrize("n_labels", [2, 3])
def test_logistic_regression_is_scikit_learns(n_labels):
    rng = np.random.default_rng(0)
    # More features than trials.
    x, test = rng.standard_normal((60, 90)) + 3, rng.standard_normal((20, 90))
    y = np.arange(60) % n_labels
    x[np.arange(60), y] += 1
    labels = np.stack([y, rng.permutation(y), y])
    penalties = np.array([1.0, 30.0, 900.0])
    found, prior = fit_log_odds(x, labels, test, penalties)
    np.testing.assert_allclose(prior, 1 / n_labels)
    for odds, truth, penalty in zip(found, labels, penalties, strict=True):
        # Of two labels, one set of weights stands for the difference of ours.
        model = LogisticRegression(
            C=(2 if n_labels == 2 else 1) / penalty, tol=1e-8, max_iter=9999
        )
        expected = model.fit(x, truth).predict_log_proba(test)
        own = odds - np.log(np.exp(odds).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(own, expected, atol=0.02, rtol=0.01)


def test_rare_labels_are_found():
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 10 == 0).astype(int)
    x = rng.standard_normal((200, 4)) + 2 * y[:, None]
    found = classify(x, y, n_folds=5, null_labels=np.empty((0, 200), int))
    assert found.score > 0.9
    # A sum over features does not depend on in how many they are split.
    many = np.repeat(x, 10, axis=1)
    again = classify(many, y, n_folds=5, null_labels=np.empty((0, 200), int))
    np.testing.assert_array_equal(again.predicted, found.predicted)


def test_matching_is_within_regions_and_of_the_best_sum():
    similarity = np.array([[0.9, 0.8, 1.0], [0.85, 0.1, 1.0], [0.3, 0.2, 0.1]])
    rows, columns = np.array(["a", "a", "b"]), np.array(["a", "a", "b"])
    # One by one, .9 and .1 would be taken.
    np.testing.assert_array_equal(match_within(similarity, rows, columns), [1, 0, 2])
    alone = match_within(similarity[:, :1], rows, columns[:1])
    np.testing.assert_array_equal(alone, [0, -1, -1])
    a = np.array([[1.0, 0], [0, -1]])
    np.testing.assert_allclose(cosines(a, -a), np.eye(2))
    np.testing.assert_allclose(cosines(np.abs(a), np.zeros((2, 1))), 0)


def test_subjects_are_told_apart():
    rng = np.random.default_rng(0)
    maps = np.repeat(rng.standard_normal((5, 30)), 2, axis=0)
    maps += 0.5 * rng.standard_normal(maps.shape)
    distance = ((maps[:, None] - maps) ** 2).mean(2)
    subjects = np.repeat(np.arange(5), 2)
    found = subject_test(
        distance, subjects, n_permutations=999, rng=np.random.default_rng(0)
    )
    assert found.p_value < 0.006
    order = rng.permutation(10)
    again = subject_test(
        distance[np.ix_(order, order)],
        subjects[order],
        n_permutations=9,
        rng=np.random.default_rng(0),
    )
    assert again.statistic == pytest.approx(found.statistic)


def test_resampling():
    times = np.arange(1000) / 100
    values = np.stack([np.sin(times), times], axis=1)
    frames = np.arange(5, 90) / 10
    linear = interpolate(times, values, frames, 0.2)
    np.testing.assert_allclose(linear[:, 1], frames, atol=1e-12)
    means = frame_means(times, values, frames, 0.1)
    np.testing.assert_allclose(means[:, 1], frames - 0.0025, atol=0.0026)
    # Noise that is faster than frames is averaged away, not sampled.
    noise = (-1.0) ** np.arange(1000)[:, None]
    assert np.abs(frame_means(times, noise, frames, 0.1)).max() < 0.12
    assert np.abs(interpolate(times, noise, frames, 0.2)).max() == 1
    # Gaps stay gaps, if they are long.
    values[300:340, 0] = np.nan
    gap = interpolate(times, values, frames, 0.2)
    lost = (frames > 2.99) & (frames < 3.4)
    np.testing.assert_array_equal(np.isnan(gap[:, 0]), lost)
    assert not np.isnan(interpolate(times, values, frames, 0.5)).any()
    outside = interpolate(times, values, np.array([-1.0, 20.0]), 0.2)
    assert np.isnan(outside).all()
