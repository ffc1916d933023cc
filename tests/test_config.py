import dataclasses

import jaxtyping
import pytest

from infosem_jax.grn.config import Config, deepsem, from_dict, remainder_rank


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    """Leave the types of settings to their own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_unknown_setting_names_the_nearest():
    with pytest.raises(ValueError, match=r"'epoch'.*did you mean 'epochs'"):
        from_dict({"epoch": 3})


def test_unknown_setting_without_a_neighbour_lists_the_known():
    with pytest.raises(ValueError, match=r"'qqqq'.*choose from rows, guide"):
        from_dict({"qqqq": 3})


def test_mapping_and_keywords_agree():
    settings = {"rows": "regulators+4", "guide": "normal", "rate_edges": 1, "held_out": 0.2}
    assert from_dict(settings) == Config(**settings)


def test_every_setting_survives_a_round_trip():
    config = Config(epochs=3, patience=2, held_out=0.25, start="prior")
    assert from_dict(dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", 0, "positive"),
        ("epochs", 2.5, "int"),
        ("epochs", True, "int"),
        ("hidden", -1, "positive"),
        ("batch_size", 0, "positive"),
        ("observation_sd", 0.0, "positive"),
        ("clip", -1.0, "positive"),
        ("start_scale", 0.0, "positive"),
        ("rate_networks", -1e-3, "at least 0"),
        ("rate_edges", float("nan"), "at least 0"),
        ("rate_priors", "fast", "number"),
        ("weight_z", -1.0, "at least 0"),
        ("weight_effect", -1.0, "at least 0"),
        ("weight_logit", -1.0, "at least 0"),
        ("start_noise", -1.0, "at least 0"),
        ("anneal_epochs", -1, "at least 0"),
        ("patience", -1, "at least 0"),
        ("phase_networks", -1, "at least 0"),
        ("phase_edges", -1, "at least 0"),
        ("knots", 1, "0 or at least 2"),
        ("knots", -4, "0 or at least 2"),
        ("held_out", 1.0, r"\[0, 1\)"),
        ("held_out", -0.1, r"\[0, 1\)"),
        ("decay", 0.0, r"\(0, 1\]"),
        ("decay", 1.5, r"\(0, 1\]"),
        ("guide", "delta", "point, normal"),
        ("start", "random", "constant, zero, prior"),
        ("observe", "some", "all, nonzero"),
        ("normalisation", "max", "zscore"),
        ("latent_prior", "flat", "standard, learned"),
        ("absorbed", "none", "both, location"),
        ("optimiser", "sgd", "rmsprop, adam"),
        ("rows", 3, "str"),
    ],
)
def test_bad_value_names_field_expected_and_found(field, value, expected):
    with pytest.raises(ValueError, match=rf"^{field}: expected .*{expected}.*, found {value!r}"):
        Config(**{field: value})


def test_patience_needs_held_out_cells():
    with pytest.raises(ValueError, match="held_out"):
        Config(patience=3, held_out=0.0)
    assert Config(patience=3, held_out=0.1).patience == 3


@pytest.mark.parametrize(
    ("rows", "rank"), [("all", 0), ("regulators", 0), ("regulators+1", 1), ("regulators+32", 32)]
)
def test_rows_tell_the_rank_of_the_remainder(rows, rank):
    assert remainder_rank(rows) == rank
    assert Config(rows=rows).rows == rows


@pytest.mark.parametrize(
    "rows", ["", "none", "all+3", "regulators+", "regulators+0", "regulators+-1", "regulators+2.5"]
)
def test_bad_rows_are_refused(rows):
    with pytest.raises(ValueError, match=r"^rows: expected all, regulators or regulators\+K"):
        Config(rows=rows)


@pytest.mark.parametrize("network", ["non-specific", "cell-type-specific"])
def test_deepsem_recipe(network):
    config = deepsem(network)
    assert (config.rows, config.guide, config.start) == ("all", "point", "constant")
    assert (config.latent_prior, config.absorbed) == ("learned", "both")
    assert (config.hidden, config.batch_size, config.optimiser) == (128, 64, "rmsprop")
    assert (config.rate_networks, config.rate_edges) == (1e-4, 2e-5)
    assert (config.phase_networks, config.phase_edges) == (1, 2)
    assert (config.start_noise, config.weight_effect) == (2e-4, 1.0)
    assert 2 * config.observation_sd**2 == pytest.approx(1)


def test_deepsem_recipes_differ_in_scale_and_in_what_is_scored():
    plain, specific = deepsem("non-specific"), deepsem("cell-type-specific")
    assert (plain.normalisation, plain.observe, plain.weight_z) == ("zscore", "all", 1.0)
    assert specific.normalisation == "zscore_nonzero"
    assert (specific.observe, specific.weight_z) == ("nonzero", 0.01)
    assert (plain.epochs, specific.epochs) == (90, 120)


def test_deepsem_takes_changes():
    assert deepsem("cell-type-specific", epochs=5, hidden=16).epochs == 5
    with pytest.raises(ValueError, match="epochs"):
        deepsem("non-specific", epochs=0)


def test_equal_settings_are_equal_and_frozen():
    assert hash(Config(epochs=3)) == hash(Config(epochs=3)) != hash(Config(epochs=4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3  # pyright: ignore
