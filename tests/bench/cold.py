"""An exec by a process that starts for it, logs in, and ends."""

from __future__ import annotations

from tests.bench.ground import Ground, program
from tests.bench.measuring import Row, alternate, compare, contender
from tests.bench.rivals import ON_HOST, OVER_OPEN_SSH, OVER_SSH, exec_words

HOW = (
    "`lfgpods exec -c true` as a new process, which starts Python, logs in and runs the command, beside OpenSSH that "
    "logs in and runs kubectl; ControlMaster and the host itself have no login to do."
)


def measure(ground: Ground) -> list[Row]:
    pod = ground.pod(ground.lab.images.small)
    environment = ground.environment()
    words = exec_words(pod, "true")
    with ground.ssh.kept_open(ground.folder / "control") as open_ssh:
        ours, *rivals = alternate(
            [
                contender(
                    "lfgpods exec",
                    lambda: ground.run(
                        program("exec", "--project-id", pod.owner.id, "-c", "true"), environment=environment
                    ),
                ),
                contender(OVER_SSH, lambda: ground.run(ground.ssh("kubectl", *words))),
                contender(OVER_OPEN_SSH, lambda: ground.run(open_ssh("kubectl", *words))),
                contender(ON_HOST, lambda: ground.kubectl(*words)),
            ],
            ground.rounds,
        )
    return compare(ours, rivals, {OVER_SSH: 1.1})
