from otero.model.alerts import Alert, fingerprint


def test_the_fingerprint_is_that_of_alertmanager() -> None:
    # FNV-1a of nothing is its offset basis; the order of labels does not matter.
    assert f"{fingerprint({}):016x}" == "cbf29ce484222325"
    assert fingerprint({"b": "2", "a": "1"}) == fingerprint({"a": "1", "b": "2"})


def test_an_alert_is_resolved_from_its_end_on() -> None:
    alert = Alert({"alertname": "Down"}, ends_ms=1000)
    assert [alert.resolved_at(now) for now in (999, 1000, 1001)] == [False, True, True]
    assert not Alert({"alertname": "Down"}).resolved_at(1 << 60)
    assert alert.name == "Down"
