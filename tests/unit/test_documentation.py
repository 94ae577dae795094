"""The links of the Markdown pages, and the pages and files that the documentation and the code name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
CODE = sorted(
    path
    for package in (
        "agents",
        "benchmarks",
        "deploy",
        "executions",
        "map_project",
        "ratelimit",
        "tests",
    )
    for path in ROOT.glob(f"{package}/**/*")
    if path.is_file() and path.suffix in {".py", ".sh", ".html", ".example", ".conf", ".lua"}
) + [ROOT / name for name in ("Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml")]

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FILE = re.compile(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|lua|md|json))`")
_PAGE = re.compile(r"\b((?:docs|benchmarks)/[\w-]+\.(?:md|json|png))\b")


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text())
    slugs = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    ]
    assert len(slugs) == len(set(slugs)), f"{page.name} has two headings with one anchor"
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_and_anchors_exist(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_pages_exist(page: Path) -> None:
    for name in _FILE.findall(_FENCE.sub("", page.read_text())):
        assert (ROOT / name).exists() or (page.parent / name).exists(), name


def test_pages_named_in_code_exist() -> None:
    named = {(path, name) for path in CODE for name in _PAGE.findall(path.read_text())}
    assert len(named) >= 3
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []


def test_the_readme_links_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert f"](docs/{page.name})" in readme, page.name


def test_every_setting_is_documented() -> None:
    settings = (ROOT / "map_project" / "settings.py").read_text()
    variables = set(re.findall(r"\b(?:env_[a-z]+|redis_url)\(\s*\"([A-Z_]+)\"", settings))
    page = (ROOT / "docs" / "deploy.md").read_text()
    documented = {
        name
        for row in re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    }
    # OpenSSL reads these variables.
    assert documented - {"SSL_CERT_FILE", "SSL_CERT_DIR"} == variables


def test_the_tables_of_settings_have_the_defaults() -> None:
    settings = (ROOT / "map_project" / "settings.py").read_text()
    page = (ROOT / "docs" / "deploy.md").read_text()
    numbers = re.findall(r"env_int\(\"([A-Z_]+)\", ([\d_]+)[,)]", settings)
    assert len(numbers) >= 10
    for name, default in numbers:
        value = default.replace("_", "")
        assert re.search(rf"`{name}` \|[^|]*`{value}`", page) or name == "PORT", name
