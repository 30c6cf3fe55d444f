from pathlib import Path

import pytest

from otero.config import load
from otero.errors import BadConfig


def test_features_of_file_and_command_line_come_together(tmp_path: Path) -> None:
    (tmp_path / "otero.yml").write_text("query: {features: [promql-duration-expr]}\n")
    config = load(tmp_path / "otero.yml", features=["promql-experimental-functions"])
    assert config.query.features == ("promql-duration-expr", "promql-experimental-functions")


def test_an_unknown_feature_names_its_line_and_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "otero.yml").write_text("query:\n  features: [promql-duration]\n")
    with pytest.raises(BadConfig, match=r"otero\.yml:2.*unknown feature.*promql-duration-expr"):
        load(tmp_path / "otero.yml")


def test_an_unknown_feature_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"--enable-feature.*agent"):
        load(None, features=["agent"])
