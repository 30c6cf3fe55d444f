"""The labels of a target's series: what it exposes, joined with what the target itself is called."""

import re
from collections.abc import Mapping

from otero.errors import BadInput
from otero.fields import valid_legacy_label_name
from otero.ingest.relabel import Relabel
from otero.ingest.scrape.config import ScrapeConfig
from otero.model.labels import METRIC_NAME, LabelBytes, encode_labels

EXPORTED = "exported_"

_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class SampleLabels:
    """Joins, relabels and checks label sets of one target as its job's settings say."""

    def __init__(self, config: ScrapeConfig, public: Mapping[str, str]) -> None:
        self._config = config
        self._public = dict(public)
        self._relabel = Relabel(config.metric_relabel_configs)
        self._legacy = config.metric_name_validation_scheme == "legacy"
        self._limited = bool(
            config.label_limit or config.label_name_length_limit or config.label_value_length_limit
        )

    def of_series(self, exposed: Mapping[str, str]) -> LabelBytes | None:
        """The label bytes of an exposed series, None when relabelling drops it.

        `exposed` may have empty values: under honor_labels they keep the target's label of that name away. Raises
        BadInput for what fails the whole scrape.
        """
        labels = self._join(exposed)
        if self._relabel:
            relabelled = self._relabel(labels)
            if not relabelled:
                return None
            labels = relabelled
        self._check(labels)
        try:
            return encode_labels(labels)
        except UnicodeEncodeError:
            raise BadInput(f"invalid metric name or label names: {labels!r}") from None

    def of_report(self, name: str) -> LabelBytes:
        """The label bytes of a series about the target, such as `up`: metric relabelling does not touch them."""
        return encode_labels({**self._public, METRIC_NAME: name})

    def _join(self, exposed: Mapping[str, str]) -> dict[str, str]:
        public = self._public
        if self._config.honor_labels:
            return {**public, **exposed}
        conflicts = sorted((name for name in public if exposed.get(name)), key=lambda name: (len(name), name))
        labels = {**exposed, **public}
        for name in conflicts:
            renamed = EXPORTED + name
            while labels.get(renamed):
                renamed = EXPORTED + renamed
            labels[renamed] = exposed[name]
        return labels

    def _check(self, labels: dict[str, str]) -> None:
        name = labels.get(METRIC_NAME)
        if not name:
            raise BadInput("missing metric name (__name__ label)")
        if self._legacy and not (
            _LEGACY_METRIC.fullmatch(name) and all(valid_legacy_label_name(label) for label in labels)
        ):
            raise BadInput(f"invalid metric name or label names: {labels!r:.200}")
        if self._limited:
            self._check_limits(name, {label: value for label, value in labels.items() if value})

    def _check_limits(self, metric: str, labels: dict[str, str]) -> None:
        config = self._config
        if config.label_limit and len(labels) > config.label_limit:
            raise BadInput(
                f"label_limit exceeded (metric: {metric:.50}, number of labels: {len(labels)},"
                f" limit: {config.label_limit})"
            )
        for name, value in labels.items():
            length = len(name.encode())
            if config.label_name_length_limit and length > config.label_name_length_limit:
                raise BadInput(
                    f"label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50},"
                    f" length: {length}, limit: {config.label_name_length_limit})"
                )
            length = len(value.encode())
            if config.label_value_length_limit and length > config.label_value_length_limit:
                raise BadInput(
                    f"label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50},"
                    f' value: "{value:.50}", length: {length}, limit: {config.label_value_length_limit})'
                )
