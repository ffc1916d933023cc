"""Exact fits of several data sets, priors and settings: `fit_many`."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from itertools import product

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream
from infosem_jax.engine.types import Progress
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.fitting import Fit, Task, decomposed, scaled, solution, task
from infosem_jax.grn.exact.likeness import levels_of
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.binding import Priors, say_coverage


def fit_many(
    datasets: Mapping[str, Dataset | Stream],
    priors: Mapping[str, Priors],
    configs: Mapping[str, Config],
    *,
    key: int | Mapping[str, int] = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    skip: Collection[Job] = (),
) -> Generator[tuple[Job, Fit], None, None]:
    """Fit every data set with every prior and setting, one after the other.

    All priors are checked first. The cells of a data set are summed up and decomposed once for all
    priors, and for all settings with the same rows and normalisation.

    Parameters
    ----------
    datasets, priors, configs
        By name.
    key
        Seed of the draws of `fit`, one for all or by the name of the prior.
    on_chunk
        Told of the steps of all jobs, added up.
    skip
        Jobs whose results are not wanted.

    Yields
    ------
    The job and its fit.

    Raises
    ------
    ValueError
        As `fit`, before the first fit.
    """
    jobs = [Job(*names) for names in product(datasets, priors, configs)]
    # Jobs that share their sums follow one another, so that one data set is kept at a time.
    jobs = sorted((job for job in jobs if job not in skip), key=lambda job: _scale(job, configs))
    ready: dict[tuple[str, ...], Dataset | Stream] = {}

    def prepared(job: Job) -> Task:
        scale = _scale(job, configs)
        if scale not in ready:
            ready.clear()
            ready[scale] = scaled(datasets[job.data], configs[job.setting])
        given = priors[job.prior]
        found = task(ready[scale], given.effect, given.edge, configs[job.setting])
        return found._replace(levels=levels_of(datasets[job.data]))

    for job in jobs:
        prepared(job)
    return _saying_coverage(_fits(jobs, configs, prepared, key, on_chunk), priors)


def _saying_coverage(
    fits: Iterator[tuple[Job, Fit]], priors: Mapping[str, Priors]
) -> Generator[tuple[Job, Fit], None, None]:
    """Log what priors know of the data, once where several fits have it in common."""
    said = set()
    for job, fitted in fits:
        for site, covered in fitted.coverage.items():
            if (told := (job.prior, site, str(covered))) not in said:
                said.add(told)
                say_coverage(priors[job.prior], site, covered)
        yield job, fitted


def _fits(
    jobs: list[Job],
    configs: Mapping[str, Config],
    prepared: Callable[[Job], Task],
    key: int | Mapping[str, int],
    on_chunk: Callable[[Progress], None] | None,
) -> Generator[tuple[Job, Fit], None, None]:
    kept: tuple[tuple[str, ...], Spectrum] | None = None
    for number, job in enumerate(jobs):

        def report(now: Progress, before: int = number) -> None:
            if on_chunk is not None:
                done = before * now.total + now.done
                on_chunk(now._replace(done=done, total=len(jobs) * now.total))

        given = prepared(job)
        same = *_scale(job, configs), given.config.rows
        if kept is None or kept[0] != same:
            kept = same, decomposed(given.data, given.rows, report, sums=given.config.sums)
        own_key = key[job.prior] if isinstance(key, Mapping) else key
        yield job, solution(given, key=own_key, basis=kept[1], on_chunk=report)


def _scale(job: Job, configs: Mapping[str, Config]) -> tuple[str, ...]:
    config = configs[job.setting]
    return job.data, config.rows, config.normalisation, str(config.clip)
