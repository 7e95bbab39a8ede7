"""Integrative NMF: metagenes that data sets share, and parts of their own.

Minimises ``Σ_d ‖X_d - H_d (W + V_d)‖² + λ_d ‖H_d V_d‖²`` over non-negative factors
:cite:p:`Welch2019`. The data enter through ``X_d (W + V_d)ᵀ`` and ``H_dᵀX_d``; scaling
of cells and of genes is applied to these products, never to the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.hals import hals_update
from ..kernels.loop import Report, Trace, iterate
from ..kernels.mu import mu_update
from ..kernels.nnls import nnls
from ..kernels.operators import join_stats, stack
from .alternate import minimise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..kernels.loop import Callback
    from ..kernels.operators import MatrixOperator, MatrixStats

type Floats = NDArray[np.floating[Any]]
type Solver = Literal["hals", "anls", "mu"]
type Rows = slice | NDArray[np.intp]

# Cells that are solved for in one call: bounds the number of shapes to compile.
_MOST_ROWS, _FEWEST_ROWS = 2048, 128
# Sweeps over the scores per pass, and over both kinds of loadings, which are small.
_ROW_SWEEPS, _LOADING_ROUNDS = 2, 3
# Sweeps until scores are taken for exact: at most, and between checks.
_MOST_SWEEPS, _SWEEPS_PER_CHECK = 500, 10
# Cells on which starting values are iterated, how often, and how often of these with a
# penalty that is at least so large.
SAMPLE_SIZE, _SAMPLE_ITERATIONS = 4000, 30
_FIRST_ITERATIONS, _FIRST_LAM = 20, 20.0
_MAX_RESEEDS = 3


class Model(NamedTuple):
    """Loadings."""

    W: Any
    """(k, n_vars): shared."""
    V: Any
    """(n_batches, k, n_vars): of each data set."""


class Sums(NamedTuple):
    """All that updates of the loadings need to know of cells."""

    gram: Any
    """(n_batches, k, k): ``H_dᵀH_d``."""
    product: Any
    """(n_batches, k, n_vars): ``H_dᵀX_d``."""


class Penalties(NamedTuple):
    """Weights of every data set."""

    lam: Floats
    """Of the penalty on its own part."""
    weight: Floats
    """Of the data set in the objective."""


@dataclass(frozen=True)
class Part:
    """Cells that are held in one matrix."""

    op: MatrixOperator
    rows: Rows
    """Their positions among all cells."""
    batch: int | NDArray[np.intp]
    """The data set of all, or of each."""


class Block(NamedTuple):
    """Cells of one data set that are worked on together."""

    batch: int
    rows: Rows
    """Positions among all cells."""
    op: MatrixOperator


@dataclass(frozen=True)
class Data:
    """Several data sets, and how their cells and genes are scaled."""

    parts: Sequence[Part]
    names: Sequence[str]
    n_cells: NDArray[np.int64]
    """Of each data set."""
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    cell_scale: Floats | None
    """What entries of each cell are multiplied by."""
    gene_scale: Floats
    """(n_batches, n_vars): what they are multiplied by then."""
    sq_norm: NDArray[np.float64]
    """Squared norm of each data set, scaled."""

    def blocks(self) -> Iterator[Block]:
        """All cells, each block of one data set."""
        for part in self.parts:
            for rows, op in part.op.row_blocks():
                yield from split(part, rows, op)

    def scale_of(self, rows: Rows) -> Floats | float:
        """Scale of some cells, as a column."""
        return 1.0 if self.cell_scale is None else self.cell_scale[rows][:, None]


def split(part: Part, rows: Rows, op: MatrixOperator) -> Iterator[Block]:
    """Some rows of a part, by data set."""
    positions = take(part.rows, rows)
    if isinstance(part.batch, int):
        yield Block(part.batch, positions, op)
        return
    batch = part.batch[rows]
    present = np.unique(batch)
    if present.size == 1:
        yield Block(int(present[0]), positions, op)
        return
    for d in present.tolist():
        index = np.flatnonzero(batch == d)
        yield Block(d, take(positions, index), op.rows(index))


def take(positions: Rows, rows: Rows) -> Rows:
    """Some of the positions."""
    if not isinstance(positions, slice):
        return positions[rows]
    if isinstance(rows, slice):
        return slice(positions.start + rows.start, positions.start + rows.stop)
    return positions.start + rows


# --- first pass over the data -----------------------------------------------


class Survey(NamedTuple):
    """What the first pass over the data finds."""

    data: Data
    sample: Data
    """Some cells of every data set, in memory."""
    stats: dict[int, MatrixStats]
    """Of every data set that has cells, before scaling; without sums of rows and columns."""
    n_empty: int
    """Number of cells that are all zero."""
    expressed: NDArray[np.bool_]
    """(n_batches, n_vars): genes with non-zero entries."""


def survey(
    parts: Sequence[Part],
    names: Sequence[str],
    *,
    scale_cells: bool,
    totals: NDArray[np.float64] | None,
    scale_genes: bool,
    seed: int,
    gene_scale: Floats | None = None,
) -> Survey:
    """Read everything once: scales, norms, and cells to start from.

    Cells are divided by ``totals``, or by the sums of their entries if it is ``None``.
    ``gene_scale`` are those that are known, NaN where they are not.
    """
    n_batches, n_vars = len(names), parts[0].op.shape[1]
    n_cells = np.zeros(n_batches, np.int64)
    for part in parts:
        np.add.at(
            n_cells, part.batch, part.op.shape[0] if isinstance(part.batch, int) else 1
        )
    n_obs = int(n_cells.sum())
    chosen = [
        _draw(stream(seed, name), int(n), SAMPLE_SIZE * int(n) // n_obs)
        for name, n in zip(names, n_cells, strict=True)
    ]
    dtype = parts[0].op.dtype
    cell_scale = np.empty(n_obs, dtype) if scale_cells else None
    squares = np.zeros((n_batches, n_vars))
    n_seen = np.zeros(n_batches, np.int64)
    stats: list[list[MatrixStats]] = [[] for _ in names]
    n_empty = 0
    taken: list[list[tuple[MatrixOperator, Floats]]] = [[] for _ in names]
    everything = Data(
        parts, names, n_cells, (n_obs, n_vars), dtype, None, squares, squares[:, 0]
    )
    for d, rows, op in everything.blocks():
        of_block = op.stats()
        # As long as the data are: not to be kept.
        row_sums = of_block.row_sums
        stats[d].append(of_block._replace(row_sums=np.empty(0), col_sums=np.empty(0)))
        n_empty += int((row_sums == 0).sum())
        scale = np.ones(op.shape[0], dtype)
        if cell_scale is not None:
            total = row_sums if totals is None else totals[rows]
            scale = _inverse(total).astype(dtype)
            cell_scale[rows] = scale
        weight = np.square(scale)[:, None]
        squares[d] += np.asarray(op.square_rmatmul(weight), np.float64)[:, 0]
        first = n_seen[d]
        n_seen[d] += op.shape[0]
        index = chosen[d][(chosen[d] >= first) & (chosen[d] < n_seen[d])] - first
        if index.size:
            taken[d].append((op.rows(index), scale[index]))
    scales = np.ones((n_batches, n_vars))
    if scale_genes:
        scales = _inverse(np.sqrt(squares / np.maximum(n_cells - 1, 1)[:, None]))
        scales[squares == 0] = 1
    if gene_scale is not None:
        scales = np.where(np.isnan(gene_scale), scales, gene_scale)
    data = Data(
        parts,
        names,
        n_cells,
        (n_obs, n_vars),
        dtype,
        cell_scale,
        scales.astype(dtype),
        np.sum(squares * scales**2, axis=1),
    )
    joined = {d: join_stats(blocks) for d, blocks in enumerate(stats) if blocks}
    return Survey(data, _sample(data, taken), joined, n_empty, squares > 0)


def _inverse(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1, x, out=np.zeros_like(x), where=x > 0)


def stream(seed: int, name: str, *more: int) -> np.random.Generator:
    """Random numbers of a data set: those of others, and their order, are no matter."""
    return np.random.default_rng([seed, *more, *name.encode()])


def _draw(rng: np.random.Generator, n: int, size: int) -> NDArray[np.intp]:
    return np.sort(rng.choice(n, min(max(size, 200), n), replace=False))


def _sample(data: Data, taken: list[list[tuple[MatrixOperator, Floats]]]) -> Data:
    parts: list[Part] = []
    scales: list[Floats] = []
    first = 0
    n_cells = np.zeros_like(data.n_cells)
    for d, pieces in enumerate(taken):
        if not pieces:
            continue
        op = stack([op for op, _ in pieces])
        parts.append(Part(op, slice(first, first + op.shape[0]), d))
        n_cells[d] = op.shape[0]
        first += op.shape[0]
        scales.extend(scale for _, scale in pieces)
    return Data(
        parts,
        data.names,
        n_cells,
        (first, data.shape[1]),
        data.dtype,
        None if data.cell_scale is None else np.concatenate(scales),
        data.gene_scale,
        # Only differences of objectives matter on a sample.
        np.zeros(len(data.names)),
    )


# --- scores -----------------------------------------------------------------


@partial(jax.jit, static_argnames=("rule", "n_sweeps"))
def update_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array, rule: Solver, n_sweeps: int
) -> jax.Array:
    """Update scores towards the minimum of their quadratic form."""
    return minimise(h, product, gram, rule, n_sweeps=n_sweeps)


@jax.jit
def _sweep_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sweep until no score moves. Also returns whether it came to that."""
    tol = 10 * jnp.finfo(h.dtype).eps

    def moving(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        h, moved, n_sweeps = state
        return (moved > tol * h.max()) & (n_sweeps < _MOST_SWEEPS)

    def sweep(
        state: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        h, _, n_sweeps = state
        before = hals_update(h, product, gram, n_sweeps=_SWEEPS_PER_CHECK - 1)
        new = hals_update(before, product, gram, n_sweeps=1)
        return new, jnp.abs(new - before).max(), n_sweeps + _SWEEPS_PER_CHECK

    start = h, jnp.array(jnp.inf, h.dtype), jnp.array(0)
    state = jax.lax.while_loop(moving, sweep, start)
    return state[0], ~moving((*state[:2], jnp.array(0)))


def _solve_rows(h: jax.Array, product: jax.Array, gram: jax.Array) -> jax.Array:
    """Exact scores."""
    new, settled = _sweep_rows(h, product, gram)
    # Sweeps crawl where loadings are nearly collinear.
    return new if settled else update_rows(new, product, gram, "anls", 1)


type UpdateRows = Callable[..., jax.Array]


def _in_chunks(h: Floats, product: Floats, gram: Floats, update: UpdateRows) -> Floats:
    """Update rows by rows, padded with zeros, which stay zero, to a few shapes."""
    done: list[tuple[jax.Array, int]] = []
    start = 0
    while start < h.shape[0]:
        n = min(h.shape[0] - start, _MOST_ROWS)
        size = max(1 << (n - 1).bit_length(), _FEWEST_ROWS)
        rows = slice(start, start + n)
        missing = ((0, size - n), (0, 0))
        parts = (
            np.pad(x[rows], missing) if size > n else x[rows] for x in (h, product)
        )
        done.append((update(*map(jnp.asarray, parts), jnp.asarray(gram)), n))
        start += n
    return np.concatenate([np.asarray(new)[:n] for new, n in done])


def score_grams(model: Model, lam: Floats) -> NDArray[Any]:
    """(n_batches, k, k): the quadratic forms that scores minimise."""
    both = model.W + model.V
    own = np.einsum("dkg,dlg->dkl", model.V, model.V, optimize=True)
    return (
        np.einsum("dkg,dlg->dkl", both, both, optimize=True) + lam[:, None, None] * own
    )


def add_blocks(
    data: Data,
    blocks: Iterable[Block],
    model: Model,
    lam: Floats,
    *,
    scores: Floats | None,
    update: UpdateRows,
    keep: Callable[[Block, Floats], None],
) -> Sums:
    """New scores of some cells, handed over block by block, and their sums.

    ``scores`` of all cells to begin with; ``None``: zero.
    """
    model = Model(*(np.asarray(factor, data.dtype) for factor in model))
    grams = score_grams(model, lam).astype(data.dtype)
    loadings = (model.W + model.V) * data.gene_scale[:, None, :]
    n_batches, rank, n_vars = loadings.shape
    gram = np.zeros((n_batches, rank, rank))
    product = np.zeros((n_batches, rank, n_vars))
    for block in blocks:
        d, rows, op = block
        scale = data.scale_of(rows)
        target = np.asarray(op.matmul(loadings[d].T)) * scale
        old = np.zeros_like(target) if scores is None else scores[rows]
        new = _in_chunks(old, target, grams[d], update)
        keep(block, new)
        # Sums over many cells keep float64 so that they do not lose digits.
        product[d] += np.asarray(op.rmatmul(new * scale), np.float64).T
        gram[d] += new.T @ new
    product *= data.gene_scale[:, None, :]
    return Sums(gram, product)


def pass_over(
    data: Data, model: Model, lam: Floats, scores: Floats, update: UpdateRows
) -> tuple[Floats, Sums]:
    """Update the scores of all cells."""
    new_scores = np.empty_like(scores)

    def keep(block: Block, new: Floats) -> None:
        new_scores[block.rows] = new

    blocks = data.blocks()
    sums = add_blocks(data, blocks, model, lam, scores=scores, update=update, keep=keep)
    return new_scores, sums


def solve(
    data: Data, model: Model, lam: Floats, keep: Callable[[Block, Floats], None]
) -> Sums:
    """Exact scores of all cells for fixed loadings."""
    blocks = data.blocks()
    return add_blocks(
        data, blocks, model, lam, scores=None, update=_solve_rows, keep=keep
    )


# --- loadings ---------------------------------------------------------------


@partial(jax.jit, static_argnames=("rule", "n_rounds"))
def update_loadings(
    model: Model,
    sums: Sums,
    penalties: Penalties,
    *,
    rule: Solver,
    n_rounds: int,
    active: jax.Array | None,
) -> Model:
    """Update W, then V, a few times; only V of ``active`` data sets."""
    gram, product = sums
    lam, weight = (jnp.asarray(x, gram.dtype) for x in penalties)
    shared_gram = jnp.einsum("d,dkl->kl", weight, gram)

    def shared(w: jax.Array, v: jax.Array) -> jax.Array:
        if rule == "mu":
            target = jnp.einsum("d,dkg->kg", weight, product)
            fitted = jnp.einsum("d,dkl,dlg->kg", weight, gram, w + v)
            return mu_update(w.T, target.T, fitted.T).T
        rest = product - jnp.einsum("dkl,dlg->dkg", gram, v)
        target = jnp.einsum("d,dkg->kg", weight, rest).T
        if rule == "anls":
            return nnls(target, shared_gram, start=w.T).T
        return hals_update(w.T, target, shared_gram, n_sweeps=1).T

    def specific(
        w: jax.Array, v: jax.Array, gram: jax.Array, product: jax.Array, lam: jax.Array
    ) -> jax.Array:
        if rule == "mu":
            fitted = gram @ (w + (1 + lam) * v)
            return mu_update(v.T, product.T, fitted.T).T
        target = (product - gram @ w).T
        if rule == "anls":
            return nnls(target, (1 + lam) * gram, start=v.T).T
        return hals_update(v.T, target, (1 + lam) * gram, n_sweeps=1).T

    def update(_: int, model: Model) -> Model:
        w = shared(*model)
        v = jax.vmap(partial(specific, w))(model.V, gram, product, lam)
        if active is not None:
            v = jnp.where(active[:, None, None], v, model.V)
        return Model(w, v)

    return jax.lax.fori_loop(0, n_rounds, update, model)


def objectives(
    sq_norm: Floats, model: Model, sums: Sums, lam: Floats
) -> NDArray[np.float64]:
    """Objective of every data set, in float64 and from products at hand."""
    w, v, gram, product = (np.asarray(x, np.float64) for x in (*model, *sums))
    both = w + v
    cross = np.einsum("dkg,dkg->d", product, both)
    fitted, own = (
        np.einsum("dkl,dkl->d", gram, x @ x.transpose(0, 2, 1)) for x in (both, v)
    )
    return sq_norm - 2 * cross + fitted + lam * own


# --- starting values --------------------------------------------------------


def start(
    sample: Data, rank: int, penalties: Penalties, *, seed: int, attempt: int
) -> Model:
    """Random loadings, iterated on a sample of the cells until they point somewhere.

    W is uniform and V are cells, both of unit norm, as in LIGER. Passes over the sample
    cost little, and with enough of them fits seldom end in a poor local optimum. The
    worst are those where factors belong to one data set each; a large penalty at first
    keeps clear of them: on simulated data it lowers what is reached with a penalty of 1
    by a fifth.
    """
    rng = np.random.default_rng([seed, attempt])
    w = rng.uniform(0, 2, (rank, sample.shape[1]))
    v = np.stack(
        [own_cells(sample, part, rank, seed, attempt) for part in sample.parts]
    )
    model = Model(*(unit(x).astype(sample.dtype) for x in (w, v)))
    return refine(sample, model, penalties)


def refine(
    sample: Data,
    model: Model,
    penalties: Penalties,
    *,
    known: Sums | None = None,
    active: NDArray[np.bool_] | None = None,
) -> Model:
    """Iterate on a sample, beside sums that are ``known`` of other cells."""
    rank = model.W.shape[0]
    scores = np.zeros((sample.shape[0], rank), sample.dtype)
    update = partial(update_rows, rule="hals", n_sweeps=2 * _ROW_SWEEPS)
    first = penalties._replace(lam=np.maximum(penalties.lam, _FIRST_LAM))
    for i in range(_SAMPLE_ITERATIONS):
        current = first if i < _FIRST_ITERATIONS else penalties
        scores, sums = pass_over(sample, model, current.lam, scores, update)
        model = fit_loadings(model, add(sums, known), current, active=active)
    return model


def add(sums: Sums, more: Sums | None) -> Sums:
    """Sums over both."""
    return (
        sums
        if more is None
        else Sums(*(a + b for a, b in zip(sums, more, strict=True)))
    )


def fit_loadings(
    model: Model,
    sums: Sums,
    penalties: Penalties,
    rule: Solver = "hals",
    active: NDArray[np.bool_] | None = None,
) -> Model:
    """:func:`update_loadings` of arrays on the host, in the precision of the model."""
    dtype = np.asarray(model.W).dtype
    cast = Sums(*(jnp.asarray(x, dtype) for x in sums))
    n_rounds = 1 if rule == "mu" else _LOADING_ROUNDS
    new = update_loadings(
        Model(*map(jnp.asarray, model)),
        cast,
        penalties,
        rule=rule,
        n_rounds=n_rounds,
        active=None if active is None else jnp.asarray(active),
    )
    return Model(*map(np.asarray, new))


def own_cells(
    sample: Data, part: Part, rank: int, seed: int, attempt: int = 0
) -> NDArray[np.float64]:
    """Random cells of a data set, scaled."""
    n_rows = part.op.shape[0]
    assert isinstance(part.rows, slice)
    assert isinstance(part.batch, int)
    rng = stream(seed, sample.names[part.batch], attempt)
    index = rng.choice(n_rows, rank, replace=rank > n_rows)
    picks = np.zeros((n_rows, rank), sample.dtype)
    picks[index, np.arange(rank)] = 1
    cells = part.op.rmatmul(picks * sample.scale_of(part.rows))
    return np.asarray(cells, np.float64).T * sample.gene_scale[part.batch]


def unit(x: Floats) -> Floats:
    """Rows of unit 2-norm; zero rows stay zero."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


# --- batch ------------------------------------------------------------------


class INMFResult(NamedTuple):
    """Factors, sorted by contribution, and the trace."""

    model: Model
    """Rows of ``W`` plus the mean of ``V`` have unit 2-norm."""
    scores: Floats
    """(n_obs, k); carry the scale."""
    sums: Sums
    trace: Trace


def inmf(
    found: Survey,
    rank: int,
    penalties: Penalties,
    *,
    solver: Solver = "hals",
    n_init: int = 1,
    tol: float = 1e-5,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
) -> INMFResult:
    """Fit all cells at once.

    Stops when an iteration lowers the objective by at most ``tol`` of its value.
    """
    best: tuple[_State, Trace] | None = None
    interrupted = False
    try:
        for attempt in range(n_init):
            model = start(found.sample, rank, penalties, seed=seed, attempt=attempt)
            state = _descend(
                found.data,
                model,
                penalties,
                solver,
                tol=tol,
                max_iter=max_iter,
                callback=callback,
            )
            if best is None or state[1].objective[-1] < best[1].objective[-1]:
                best = state
            if state[1].interrupted:
                interrupted = True
                break
    except KeyboardInterrupt:
        # Between two starts: what the earlier ones found is kept.
        if best is None:
            raise
        interrupted = True
    assert best is not None
    (model, scores, sums), trace = best
    model, scores, sums = normalise(model, scores, sums)
    return INMFResult(model, scores, sums, trace._replace(interrupted=interrupted))


class _State(NamedTuple):
    model: Model
    scores: Floats
    sums: Sums


def _descend(
    data: Data,
    model: Model,
    penalties: Penalties,
    solver: Solver,
    *,
    tol: float,
    max_iter: int,
    callback: Callback | None,
) -> tuple[_State, Trace]:
    rank = model.W.shape[0]
    scores = np.zeros((data.shape[0], rank), data.dtype)
    update = partial(update_rows, rule=solver, n_sweeps=_ROW_SWEEPS)
    if solver == "mu":
        # Multiplicative updates cannot leave zero.
        first = partial(update_rows, rule="hals", n_sweeps=_ROW_SWEEPS)
        scores, _ = pass_over(data, model, penalties.lam, scores, first)
        model = Model(*map(_positive, model))
        scores = _positive(scores)
    reseeds: dict[int, int] = {}

    def step(state: _State, _: int) -> tuple[_State, Report]:
        model, scores, sums = state
        if solver != "mu":
            model = revive(data, model, scores, sums, reseeds)
        scores, sums = pass_over(data, model, penalties.lam, scores, update)
        model = fit_loadings(model, sums, penalties, solver)
        value = objectives(data.sq_norm, model, sums, penalties.lam)
        return _State(model, scores, sums), Report(float(penalties.weight @ value))

    def finished(reports: list[Report]) -> bool:
        if len(reports) < 2:
            return False
        before, last = (report.objective for report in reports[-2:])
        assert before is not None
        assert last is not None
        return before - last <= tol * last

    nothing = Sums(np.ones((1, rank, rank)), np.empty(0))
    return iterate(
        step,
        _State(model, scores, nothing),
        max_iter=max_iter,
        finished=finished,
        callback=callback,
    )


def _positive(x: Floats) -> Floats:
    return np.maximum(x, x.dtype.type(x.mean() / 100))


def in_use(sums: Sums) -> NDArray[np.bool_]:
    """Factors that some cell uses."""
    used: NDArray[np.bool_] = np.einsum("dkk->k", sums.gram) > 0
    return used


def revive(
    data: Data, model: Model, scores: Floats, sums: Sums, reseeds: dict[int, int]
) -> Model:
    """Point factors that no cell uses at the worst explained cells.

    No update moves a factor whose scores are all zero. Given up after a few
    attempts: then the data need fewer.
    """
    used = np.einsum("dkk->k", sums.gram) > 0
    dead = [
        j for j in np.flatnonzero(~used).tolist() if reseeds.get(j, 0) < _MAX_RESEEDS
    ]
    if not dead:
        return model
    totals = (model.W + model.V).sum(2)
    worst: list[tuple[float, Floats]] = []
    for d, rows, op in data.blocks():
        scale = data.scale_of(rows)
        sums_of_rows = np.asarray(op.matmul(data.gene_scale[d][:, None])) * scale
        missing = sums_of_rows[:, 0] - scores[rows] @ totals[d]
        index = np.argsort(-missing)[: len(dead)]
        picks = np.zeros((op.shape[0], index.size), data.dtype)
        picks[index, np.arange(index.size)] = 1
        cells = np.asarray(op.rmatmul(picks * scale)).T * data.gene_scale[d]
        rest = np.maximum(cells - scores[rows][index] @ (model.W + model.V[d]), 0)
        worst += zip(missing[index].tolist(), rest, strict=True)
    worst.sort(key=lambda pair: -pair[0])
    w, v = (np.array(factor) for factor in model)
    for j, (missing, row) in zip(dead, worst, strict=False):
        reseeds[j] = reseeds.get(j, 0) + 1
        if missing > 0:
            w[j], v[:, j] = row, 0
    return Model(w, v)


def normalise(model: Model, scores: Floats, sums: Sums) -> _State:
    """Fix what the objective leaves open: one scale per factor, and their order."""
    model, norm, order = standardise(model, sums)
    scores = (scores * norm.astype(scores.dtype))[:, order]
    return _State(model, scores, rescale(sums, norm, order))


def rescale(sums: Sums, norm: NDArray[np.float64], order: NDArray[np.intp]) -> Sums:
    """Sums over scores that were multiplied by the norms, in another order."""
    return Sums(
        (sums.gram * norm[:, None] * norm)[:, order][:, :, order],
        (sums.product * norm[:, None])[:, order],
    )


def standardise(
    model: Model, sums: Sums
) -> tuple[Model, NDArray[np.float64], NDArray[np.intp]]:
    """Loadings of unit norm by contribution, the norms taken, and the new order."""
    both = np.asarray(model.W + model.V.mean(0), np.float64)
    norm = np.linalg.norm(both, axis=1)
    divisor = np.where(norm > 0, norm, 1)
    contribution = np.einsum("dkk->k", sums.gram) * norm**2
    order = np.argsort(-contribution, kind="stable")
    w, v = (
        (np.asarray(x) / divisor[:, None]).astype(np.asarray(x).dtype) for x in model
    )
    return Model(w[order], v[:, order]), norm, order
