"""A sample pod for the tests of the store and the output."""

from __future__ import annotations

from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod, ServicePort, State
from lfgpods.core.spec import PodSpec, Resources

SPEC = PodSpec("busybox:1.36", Resources("1Gi", "1", "128Mi", "50m"), "1Gi", (8080,))
POD = Pod(
    Owner.project("My App"), "proj-my-app--x", State.RUNNING, SPEC, "/v/proj-my-app--x", pod_name="p-1", conversation_id="c",
    service_name="s", cluster_ip="10.0.0.1", ports=(ServicePort(8080, 30001, "http://h:30001"),),
    created_at="2026-01-01T00:00:00Z", started_at="2026-01-01T00:00:01Z",
)  # fmt: skip
