"""Containers of one's own: where an image will be, and building and pushing one of this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from training.backends.base import Push
from training.errors import JobFileError, UsageError
from training.job import Image, JobSpec
from training.package import collect

_BUILDERS = ("docker", "podman")


class Login(NamedTuple):
    """How a registry is signed in to, for some hours."""

    endpoint: str  # its address, such as https://registry.example
    user: str
    password: str


def built_image(
    spec: JobSpec, repositories: Mapping[str, str], cloud: Literal["aws", "azure"]
) -> tuple[str, Push | None]:
    """Return the URI a job's image has, or will have once pushed, and what to push. Makes no network call.

    The tag is a digest of what is built, so that an image is pushed once and an immutable repository is content.
    ``repositories`` is name -> URL without a tag. Raises JobFileError.
    """
    image = spec.image
    if image is None:
        raise JobFileError([spec.problem("image", "is missing")])
    if image.uri is not None:
        return image.uri, None
    url = _repository(spec, image, repositories, cloud)
    if image.local is not None:
        tag = _local_digest(image.local)[:20]
        return f"{url}:{tag}", Push(image_uri=f"{url}:{tag}", local=image.local, dockerfile=None)
    dockerfile = image.dockerfile or "Dockerfile"
    context = spec.folder / image.context
    content = collect(context).digest
    recipe = json.dumps([content, dockerfile, dict(image.build_args)])
    tag = hashlib.sha256(recipe.encode()).hexdigest()[:20]
    return f"{url}:{tag}", Push(
        image_uri=f"{url}:{tag}",
        local=None,
        dockerfile=spec.folder / dockerfile,
        context=context,
        build_args=dict(image.build_args),
    )


def push(push: Push, sign_in: Callable[[], Login]) -> None:
    """Sign in, build where asked, and push to the registry that the sign-in names.

    Raises UsageError with the tool's words.
    """
    builder = _builder()
    login = sign_in()  # first: a build takes long, and is no use without
    if push.dockerfile is not None:
        arguments = [f"--build-arg={name}={value}" for name, value in push.build_args.items()]
        _run(
            [
                builder,
                "build",
                "-t",
                push.image_uri,
                "-f",
                str(push.dockerfile),
                *arguments,
                str(push.context),
            ]
        )
    elif push.local is not None:
        _run([builder, "tag", push.local, push.image_uri])
    scheme, _, registry = login.endpoint.rstrip("/").rpartition("://")
    pushed = f"{registry}/{push.image_uri.partition('/')[2]}"
    if pushed != push.image_uri:
        _run([builder, "tag", push.image_uri, pushed])
    # docker takes plain http from loopback by itself; podman has to be told.
    plain = ["--tls-verify=false"] if scheme == "http" and builder == "podman" else []
    sign = [builder, "login", *plain, "--username", login.user, "--password-stdin", registry]
    _run(sign, login.password)
    _run([builder, "push", *plain, pushed])


def _repository(spec: JobSpec, image: Image, repositories: Mapping[str, str], cloud: str) -> str:
    if image.repository is not None and image.repository in repositories:
        return repositories[image.repository]
    if image.repository is None and len(repositories) == 1:
        return next(iter(repositories.values()))
    names = ", ".join(sorted(repositories)) or "none"
    given = "is missing" if image.repository is None else f"is {image.repository!r}"
    raise JobFileError(
        [
            spec.problem(
                "image.repository", f"{given}; the stack's repositories on {cloud} are: {names}"
            )
        ]
    )


def _local_digest(name: str) -> str:
    found = _run([_builder(), "image", "inspect", "--format", "{{.Id}}", name])
    return found.strip().removeprefix("sha256:")


def _builder() -> str:
    for name in _BUILDERS:
        if shutil.which(name):
            return name
    raise UsageError(
        "image.local and image.dockerfile need docker or podman on this machine, and neither is on PATH. Install one, "
        "or push the image elsewhere and give image.uri"
    )


def _run(command: list[str], stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise UsageError(f"{' '.join(command[:3])} failed: {' / '.join(last)}")
    return done.stdout
