"""Settings of the shell, read from the environment by a service's `__main__` and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dragoman.bus import BusConfig
from dragoman.client_tls import ClientTls
from dragoman.errors import InvalidSpec
from dragoman.principals import Principals
from dragoman.principals_file import read_principals
from dragoman.rpc.server import ServerConfig, TlsConfig
from dragoman.source_policy import SourcePolicy
from dragoman.store import StoreConfig
from dragoman.worker import WorkerConfig


@dataclass(frozen=True, slots=True)
class Settings:
    """What every service needs to know. See docs/operations.md for each variable."""

    bus: BusConfig
    store: StoreConfig
    worker: WorkerConfig
    server: ServerConfig
    metrics_address: str
    """host:port, or empty for no metrics endpoint."""
    log_level: str
    log_format: str
    mend_every: float
    sources: SourcePolicy
    insecure: bool = False
    """The server may ask nobody who calls, on loopback. See `dragoman.exposure`."""
    plaintext: bool = False
    """The server may do without TLS elsewhere."""
    traces: bool = False
    """Spans are sent to where OpenTelemetry's own variables say."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], service: str) -> "Settings":
        """Reads DRAGOMAN_* and <SERVICE>_* variables. Raises InvalidSpec for a value of the wrong type."""
        read = _Reader(environ)
        prefix = service.upper().replace("-", "_")
        lock = read.text("DRAGOMAN_MACHINE_LOCK", "")
        return cls(
            bus=BusConfig(
                url=read.text("DRAGOMAN_NATS_URL", "nats://127.0.0.1:4222"),
                namespace=read.text("DRAGOMAN_NAMESPACE", "dragoman"),
                user=read.text("DRAGOMAN_NATS_USER", ""),
                password=read.text("DRAGOMAN_NATS_PASSWORD", ""),
                tls=_client_tls(read, "DRAGOMAN_NATS"),
                ack_wait=read.number("DRAGOMAN_ACK_WAIT_S", 30.0),
                lease=read.number("DRAGOMAN_LEASE_S", 30.0),
                replicas=int(read.number("DRAGOMAN_NATS_REPLICAS", 1)),
            ),
            store=StoreConfig(
                endpoint=read.text("DRAGOMAN_S3_ENDPOINT", "127.0.0.1:8333"),
                access_key=read.text("DRAGOMAN_S3_ACCESS_KEY", ""),
                secret_key=read.text("DRAGOMAN_S3_SECRET_KEY", ""),
                bucket=read.text("DRAGOMAN_S3_BUCKET", "dragoman"),
                region=read.text("DRAGOMAN_S3_REGION", "us-east-1"),
                secure=read.flag("DRAGOMAN_S3_SECURE"),
                tls=_client_tls(read, "DRAGOMAN_S3"),
            ),
            worker=WorkerConfig(
                slots=int(read.number(f"{prefix}_SLOTS", 1)),
                max_attempts=int(read.number("DRAGOMAN_MAX_ATTEMPTS", 3)),
                max_transient=int(read.number("DRAGOMAN_MAX_TRANSIENT", 10)),
                stall=read.number("DRAGOMAN_STALL_S", 900.0),
                drain=read.number("DRAGOMAN_DRAIN_S", 10.0),
                machine_lock=Path(lock) if lock else None,
            ),
            server=ServerConfig(
                address=read.text(f"{prefix}_GRPC_ADDRESS", "127.0.0.1:0"),
                tls=_tls(read),
                principals=_principals(read),
                debug=read.flag("DRAGOMAN_DEBUG"),
            ),
            metrics_address=read.text(f"{prefix}_METRICS_ADDRESS", ""),
            log_level=read.text("DRAGOMAN_LOG_LEVEL", "INFO"),
            log_format=read.text("DRAGOMAN_LOG_FORMAT", "json"),
            mend_every=read.number("DRAGOMAN_MEND_S", 10.0),
            sources=SourcePolicy.from_env(environ),
            insecure=read.flag("DRAGOMAN_INSECURE"),
            plaintext=read.flag("DRAGOMAN_PLAINTEXT"),
            traces=read.flag("DRAGOMAN_TRACES"),
        )


def _principals(read: "_Reader") -> Principals | None:
    token, path = read.text("DRAGOMAN_TOKEN", ""), read.text("DRAGOMAN_PRINCIPALS", "")
    if path:
        return read_principals(Path(path))
    return Principals.of_token(token) if token else None


def _tls(read: "_Reader") -> TlsConfig | None:
    certificate, key = read.text("DRAGOMAN_TLS_CERTIFICATE", ""), read.text("DRAGOMAN_TLS_KEY", "")
    client_ca = read.text("DRAGOMAN_TLS_CLIENT_CA", "")
    if bool(certificate) != bool(key):
        raise InvalidSpec(
            "only one of certificate and key is set; set both for TLS, or neither", field="DRAGOMAN_TLS_CERTIFICATE"
        )
    if not certificate:
        return None
    return TlsConfig(Path(certificate), Path(key), Path(client_ca) if client_ca else None)


def _client_tls(read: "_Reader", prefix: str) -> ClientTls | None:
    names = [f"{prefix}_{name}" for name in ("TLS_CA", "TLS_CERTIFICATE", "TLS_KEY")]
    ca, certificate, key = (read.text(name, "") for name in names)
    if bool(certificate) != bool(key):
        raise InvalidSpec("only one of certificate and key is set; set both, or neither", field=names[1])
    if not ca and not certificate:
        return None
    return ClientTls(*(Path(value) if value else None for value in (ca, certificate, key)))


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, default)

    def flag(self, name: str) -> bool:
        return self.text(name, "").lower() in {"1", "true", "yes"}

    def number(self, name: str, default: float) -> float:
        raw = self._environ.get(name, "")
        if not raw:
            return default
        try:
            return float(raw)
        except ValueError:
            raise InvalidSpec(f"{raw!r} is not a number; unset it for the default, {default:g}", field=name) from None
