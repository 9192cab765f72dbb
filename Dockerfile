# The service in a small image: no torch, no compiler, not root.   docker build -t threeages .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/threeages \
 && /opt/threeages/bin/pip install --no-cache-dir --disable-pip-version-check '.[serve]' \
 && /opt/threeages/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
COPY --from=build /opt/threeages /opt/threeages
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin threeages
USER 10001
ENV PATH=/opt/threeages/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
# An HTTP_PROXY of the container is for the world outside: the check goes past it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
# Inside the container every address is its own; compose.yaml publishes the port on the host's loopback only.
ENTRYPOINT ["threeages", "serve", "--host", "0.0.0.0", "--port", "8000"]
