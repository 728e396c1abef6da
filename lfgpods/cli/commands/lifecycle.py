"""create and delete."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import ConversationId, Output, ProjectId, above_zero, note, progress, warn


def create(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE", help="Container image. [env: LFGPODS_IMAGE, default: gitpod/workspace-full:latest]"
        ),
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(metavar="CPU", help="CPU limit, such as 500m or 2. [env: LFGPODS_CPU, default: 1]")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory limit, such as 512Mi or 2Gi. [env: LFGPODS_MEMORY, default: 1Gi]"),
    ] = None,
    cpu_request: Annotated[
        str | None, typer.Option(metavar="CPU", help="CPU to reserve. [env: LFGPODS_CPU_REQUEST, default: 50m]")
    ] = None,
    memory_request: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory to reserve. [env: LFGPODS_MEMORY_REQUEST, default: 128Mi]"),
    ] = None,
    storage_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Size of a new volume. [env: LFGPODS_STORAGE_SIZE, default: 1Gi]")
    ] = None,
    port: Annotated[
        list[int] | None,
        typer.Option(
            metavar="PORT", help="A port that the pod answers on; may be repeated. [env: LFGPODS_PORTS, default: 8080]"
        ),
    ] = None,
    restricted: Annotated[
        bool | None,
        typer.Option(
            "--restricted/--no-restricted",
            help="Run without root, capabilities and privilege escalation. [env: LFGPODS_RESTRICTED]",
        ),
    ] = None,
    runtime_class: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="RuntimeClass, such as gvisor; '' for the node's default. [env: LFGPODS_RUNTIME_CLASS]"
        ),
    ] = None,
    storage_class: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="StorageClass of a new volume; '' for a folder on the host. [env: LFGPODS_STORAGE_CLASS]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=above_zero,
            help="How long to wait for the pod. [env: LFGPODS_TIMEOUT, default: 300]",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the pod is ready.")] = True,
    update: Annotated[
        bool, typer.Option("--update", help="Change a running pod that differs from the options.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests and change nothing.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Create a pod, or bring it back on its kept volume.

    A running pod is left as it is. If it differs from the options, lfgpods warns; --update changes it.

    \b
      lfgpods create --project-id my-app --image python:3.12 --port 8000
    """
    from lfgpods.cli.output import show_manifests, show_pod
    from lfgpods.core.owners import resolve_owner
    from lfgpods.core.settings import load_settings
    from lfgpods.core.spec import Request

    owner = resolve_owner(project_id, conversation_id)
    request = Request(
        image=image,
        memory=memory,
        cpu=cpu,
        memory_requests=memory_request,
        cpu_requests=cpu_request,
        storage_size=storage_size,
        ports=tuple(port) if port else None,
        restricted=restricted,
        runtime_class=runtime_class,
        storage_class=storage_class,
    )
    settings = load_settings()
    request.over(settings.defaults)
    if dry_run:
        from lfgpods.pods.lifecycle import render

        typer.echo(show_manifests(render(settings, owner, request, conversation_id=conversation_id), output))
        return

    from lfgpods.api.manager import PodManager

    with PodManager(settings) as manager, progress() as on_step:
        pod = manager.ensure(
            owner,
            request,
            conversation_id=conversation_id,
            update=update,
            wait=wait,
            timeout=timeout,
            on_step=on_step,
        )
    for notice in pod.notices:
        note(notice)
    for difference in pod.differences:
        warn(difference)
    if pod.differences and not update and not any("cannot be changed" in one for one in pod.differences):
        warn("the pod was left as it is; use --update to change it")
    typer.echo(show_pod(pod, output))


def delete(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data too. This cannot be undone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Purge without asking.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete a pod and keep its data. With --purge, delete the data too.

    \b
      lfgpods delete --project-id my-app
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_deletion
    from lfgpods.core.errors import LfgpodsError
    from lfgpods.core.owners import resolve_owner
    from lfgpods.core.text import printable

    owner = resolve_owner(project_id, conversation_id)
    if purge and not yes and sys.stdin.isatty():
        question = f"Permanently remove the pod of {printable(str(owner))} and all of its files?"
        if not typer.confirm(question, err=True):
            raise LfgpodsError("nothing was removed", "Leave out --purge to keep the data.", code="declined")
    with PodManager() as manager, progress() as on_step:
        deletion = manager.delete(owner, purge=purge, on_step=on_step)
    typer.echo(show_deletion(deletion, output))
