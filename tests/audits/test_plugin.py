from importlib.metadata import EntryPoint, EntryPoints

import pytest

from audits import plugin
from audits.crows_pairs import CrowsPairs
from audits.errors import SpecError
from audits.plugin import Plugin
from audits.settings import Wanted
from audits.testing import FakeModel, check_audit


def install(monkeypatch, *entries):
    """Entry points come from installed packages; this is the seam to what is installed."""
    found = EntryPoints(EntryPoint(name, value, "assay.audits") for name, value in entries)
    monkeypatch.setattr(plugin, "entry_points", lambda **wanted: found.select(**wanted))


def test_runs_the_installed_audit(monkeypatch, rows_of):
    install(monkeypatch, ("acme", "audits.crows_pairs:CrowsPairs"))
    audit = Plugin(use="acme", settings={"source": "pairs"})
    assert (audit.title, audit.version, audit.source) == ("acme", CrowsPairs.version, "pairs")
    part = check_audit(audit, FakeModel(), rows_of("crows_pairs"))
    assert part.declared == CrowsPairs().declares()


def test_what_the_installed_audit_wants_is_handed_to_it(monkeypatch):
    install(monkeypatch, ("acme", "audits.crows_pairs:CrowsPairs"))
    assert Plugin(use="acme", settings={"untrained": 2}).wanted == Wanted(untrained=2)


def test_names_what_is_installed(monkeypatch):
    install(monkeypatch, ("acme", "audits.crows_pairs:CrowsPairs"))
    with pytest.raises(SpecError, match="'amce'; installed: acme"):
        Plugin(use="amce").load()


def test_settings_it_does_not_know_are_a_persons_mistake(monkeypatch):
    install(monkeypatch, ("acme", "audits.crows_pairs:CrowsPairs"))
    with pytest.raises(SpecError, match="does not take these settings"):
        Plugin(use="acme", settings={"colour": "red"}).load()


def test_what_is_no_audit_is_refused(monkeypatch):
    install(monkeypatch, ("acme", "builtins:dict"))
    with pytest.raises(SpecError, match="is no audit: it has no kind"):
        Plugin(use="acme").load()
