"""create and delete."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lfgpods.cli.options import ConversationId, Output, OutputFormat, ProjectId, above_zero, note, progress, warn


def create(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Container image [default: LFGPODS_IMAGE].")
    ] = None,
    cpu: Annotated[str | None, typer.Option(metavar="CPU", help="CPU limit, such as 500m or 2.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory limit, such as 512Mi or 2Gi.")] = None,
    cpu_request: Annotated[str | None, typer.Option(metavar="CPU", help="CPU that is reserved for the pod.")] = None,
    memory_request: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory that is reserved for the pod.")
    ] = None,
    storage_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Size of a new volume, such as 1Gi.")] = None,
    port: Annotated[
        list[int] | None,
        typer.Option(metavar="PORT", help="A port that the pod answers on; may be given again. [default: 8080]"),
    ] = None,
    restricted: Annotated[
        bool | None,
        typer.Option("--restricted/--no-restricted", help="Without root, capabilities and privilege escalation."),
    ] = None,
    runtime_class: Annotated[
        str | None, typer.Option(metavar="NAME", help="RuntimeClass, such as gvisor; '' for the node's own runtime.")
    ] = None,
    storage_class: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="StorageClass of a new volume; '' for a folder of the host."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=above_zero, help="How long to wait for the pod. [default: 300]"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the pod is ready.")] = True,
    update: Annotated[bool, typer.Option("--update", help="Change a running pod to what is asked for.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests and touch nothing.")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make a pod, or bring back the one that was there, on the same volume.

    A pod that already runs is returned as it is; where it differs from what is asked for, that is said, and
    changed only with --update.

    \b
      lfgpods create --project-id my-app --image python:3.12 --port 8000
    """
    from lfgpods.cli.output import Format, show_manifests, show_pod
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

        typer.echo(show_manifests(render(settings, owner, request, conversation_id=conversation_id), Format(output)))
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
        warn("the pod was left as it is; --update changes what can be changed")
    typer.echo(show_pod(pod, Format(output)))


def delete(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data too. It cannot be brought back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Purge without asking.")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Take a pod away and keep its data; with --purge take all of it.

    lfgpods delete --project-id my-app
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import Format, printable, show_deletion
    from lfgpods.core.errors import LfgpodsError
    from lfgpods.core.owners import resolve_owner

    owner = resolve_owner(project_id, conversation_id)
    if purge and not yes and sys.stdin.isatty():
        question = f"Remove the pod of {printable(str(owner))} and all of its files for good?"
        if not typer.confirm(question, err=True):
            raise LfgpodsError("nothing was removed", "Leave out --purge to keep the data.", code="declined")
    with PodManager() as manager, progress() as on_step:
        deletion = manager.delete(owner, purge=purge, on_step=on_step)
    typer.echo(show_deletion(deletion, Format(output)))
