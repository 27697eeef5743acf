# One image for the doors, the workers and the scheduler; the command says which.

FROM python:3.13-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/tenure
# The pinned versions first: they change less often than the code.
COPY requirements.lock ./
RUN /opt/tenure/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY reader ./reader
COPY worker ./worker
COPY handlers ./handlers
COPY schedules ./schedules
RUN /opt/tenure/bin/python -m pip install --no-deps --no-build-isolation ./reader . \
    && /opt/tenure/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim-trixie
ENV PATH=/opt/tenure/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 tenure && useradd --uid 10001 --gid tenure --no-create-home --home-dir /tmp tenure
COPY --from=build /opt/tenure /opt/tenure
# An empty folder of its own: settings are also read from a .env file where a process starts.
WORKDIR /srv/tenure
# A volume that is mounted here belongs to the user that writes it.
RUN mkdir /witness && chown tenure:tenure /witness
USER 10001:10001
EXPOSE 8480
CMD ["tenure", "--help"]
