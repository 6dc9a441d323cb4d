"""A saved plan for several machines: a host that does not answer any more is named, and what it takes along."""

from __future__ import annotations

import json

from tests.integration.lab import Lab
from tests.integration.ssh.fleet import NOTES, fleet
from tests.integration.ssh.hosts import Hosts


def test_a_host_that_fell_silent_since(hosts: Hosts, lab: Lab) -> None:
    one, _ = hosts.add("one", "two")
    lab.spec(fleet({"j0": NOTES}, "one", "one"), "one.yaml")
    lab.spec(fleet({"k0": NOTES}, "two", "two"), "two.yaml")
    plan = str(lab.work / "plan.json")
    plan_id = lab.json("diff", "--out", plan)["plan_id"]
    one.stop_sshd()
    refused = lab.exq("apply", plan, "--yes", "--json", code=1)
    moved = json.loads(refused.stdout)["moved"]
    assert [(item["what"], item["name"]) for item in moved] == [("host", "one"), ("gone", "one/j0")]
    assert "refuses connections" in moved[0]["message"]
    assert "HostUnknown" in moved[1]["message"]
    assert "it gives no answer any more" in refused.stderr
    one.start_sshd()
    done = json.loads(lab.exq("apply", plan, "--yes", "--json").stdout)
    assert (done["applied"], done["plan_id"]) == (True, plan_id)
    assert {(a["job"], a["host"], a["ok"]) for a in done["actions"]} == {
        ("one/j0", "one", True),
        ("two/k0", "two", True),
    }
    lab.settle()


def test_a_silent_host_that_has_no_part_in_it_does_not_matter(hosts: Hosts, lab: Lab) -> None:
    one, _ = hosts.add("one", "two")
    lab.spec(fleet({"j0": "true"}, "one", "one"), "one.yaml")
    lab.settle()
    lab.spec(fleet({"k0": NOTES}, "two", "two"), "two.yaml")
    plan = str(lab.work / "plan.json")
    plan_id = lab.json("diff", "--out", plan)["plan_id"]
    one.stop_sshd()
    done = json.loads(lab.exq("apply", plan, "--yes", "--json").stdout)
    assert (done["applied"], done["plan_id"]) == (True, plan_id)
    assert [a["job"] for a in done["actions"]] == ["two/k0"]
    one.start_sshd()
    lab.settle()
