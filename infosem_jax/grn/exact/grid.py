"""Exact fits of several data sets, priors and settings: `fit_many`."""

from collections.abc import Callable, Collection, Generator, Mapping
from itertools import product

from infosem_jax.data.dataset import Dataset
from infosem_jax.engine.types import Progress
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.fitting import Fit, acting, fit, scaled
from infosem_jax.grn.exact.statistics import Moments, moments
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.binding import Priors


def fit_many(
    datasets: Mapping[str, Dataset],
    priors: Mapping[str, Priors],
    configs: Mapping[str, Config],
    *,
    key: int | Mapping[str, int] = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    skip: Collection[Job] = (),
) -> Generator[tuple[Job, Fit], None, None]:
    """Fit every data set with every prior and setting, one after the other.

    The cells of a data set are summed up once for all priors, and for all settings with the same
    rows and normalisation.

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
    """
    jobs = [Job(*names) for names in product(datasets, priors, configs)]
    jobs = [job for job in jobs if job not in skip]
    kept: tuple[tuple[str, ...], Dataset, Moments] | None = None
    # Jobs that share their sums follow one another, so that one data set is kept at a time.
    for number, job in enumerate(sorted(jobs, key=lambda job: _scale(job, configs))):
        scale, config = _scale(job, configs), configs[job.setting]
        if kept is None or kept[0] != scale:
            data = scaled(datasets[job.data], config)
            kept = scale, data, moments(data.x, acting(data, config))
        given = priors[job.prior]

        def told(now: Progress, before: int = number) -> None:
            if on_chunk is not None:
                done = before * now.total + now.done
                on_chunk(now._replace(done=done, total=len(jobs) * now.total))

        own_key = key[job.prior] if isinstance(key, Mapping) else key
        settings = {"config": config, "key": own_key, "on_chunk": told}
        yield job, fit(kept[1], given.effect, given.edge, summed=kept[2], **settings)


def _scale(job: Job, configs: Mapping[str, Config]) -> tuple[str, ...]:
    config = configs[job.setting]
    return job.data, config.rows, config.normalisation, str(config.clip)
