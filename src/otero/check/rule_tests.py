"""Files of rule unit tests: their shape, and the rule files that they name. `otero test rules` runs them."""

from otero.errors import BadConfig
from otero.rules.config import load_rule_files
from otero.rules.unit_tests.file import check_expressions, read_unit_tests, tested_files
from otero.source import Node, Reader


def check_rule_tests(node: Node, reader: Reader, features: frozenset[str]) -> None:
    """Notes the problems of a test file and of its rule files, and warns of tests of alerts that no rule gives."""
    content = read_unit_tests(node, reader)
    if content is None:
        return
    check_expressions(content, node, reader, features)
    try:
        files = load_rule_files([str(path) for path in tested_files(content.rule_files)], features)
    except BadConfig as error:
        reader.problems += error.problems
        return
    known = {rule.alert for file in files for group in file.content.groups for rule in group.rules}
    for at, test in enumerate(content.tests):
        for index, asked in enumerate(test.alert_rule_test):
            if asked.alertname not in known:
                where = f"tests[{at}].alert_rule_test[{index}].alertname"
                reader.warn(f'no rule file has an alert "{asked.alertname}"', node, "", where)
