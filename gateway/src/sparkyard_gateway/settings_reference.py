"""The settings as a page for people, made from their own descriptions."""

from sparkyard_gateway.config import ENVIRONMENT_PREFIX, Settings


def reference() -> str:
    """Every setting as a table, for the documentation; a test keeps docs/gateway-settings.md equal to it."""
    rows = [
        "# Settings of the gateway",
        "",
        "Each is an option of `sparkyard-gateway` (`--state-dir`), an environment variable (`"
        + ENVIRONMENT_PREFIX
        + "STATE_DIR`) and a key of the TOML file given by `--config` (`state_dir`); the first of these holds.",
        "",
        "| setting | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
