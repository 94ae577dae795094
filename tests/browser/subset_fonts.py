"""Write the admin's fonts, which replace those of the theme: `python -m tests.browser.subset_fonts`.

The theme's fonts have 750 KB, which is more than the rest of a page. The ones in `desk/static` have the Latin
characters, and the icons whose names occur in the templates and the code. Run this after a new icon is used
or the theme is updated. It needs `pyftsubset` (`pip install fonttools brotli`).
"""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

ROOT = Path(__file__).parents[2]
FONTS = ROOT / "map_project" / "desk" / "static" / "unfold" / "fonts"
LATIN = "U+0020-007E,U+00A0-017F,U+2010-2044,U+20AC,U+2122,U+2190-2193,U+2212,U+2260-2265"


def main() -> None:
    """Write all fonts with their licenses."""
    spec = find_spec("unfold")
    assert spec
    assert spec.origin
    theme = Path(spec.origin).parent
    fonts = theme / "static" / "unfold" / "fonts"
    for font in sorted(fonts.glob("*/*.woff2")):
        target = FONTS / font.relative_to(fonts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(font.parent / "LICENSE", target.parent)
        options = [f"--unicodes={LATIN}", "--layout-features=kern,liga,calt,ccmp,locl,mark,mkmk"]
        with NamedTemporaryFile("w") as names:
            if "Symbols" in font.name:
                names.write("\n".join(sorted(words(theme))))
                names.flush()
                options = [
                    "--unicodes=U+0020,U+005F,U+0030-0039,U+0061-007A",
                    "--layout-features=*",
                ]
                options += [f"--glyphs-file={names.name}", "--no-layout-closure"]
                options += ["--ignore-missing-glyphs"]
            subprocess.run(
                ["pyftsubset", font, "--flavor=woff2", f"--output-file={target}", *options],
                check=True,
            )


def words(theme: Path) -> set[str]:
    """All words of the theme and of our code. The names of icons are among them."""
    found: set[str] = set()
    packages = [theme, *(ROOT / name for name in ("map_project", "agents", "executions", "tools"))]
    for package in packages:
        for path in package.rglob("*"):
            if path.suffix in {".py", ".html", ".js"}:
                found.update(re.findall(r"[a-z0-9_]+", path.read_text(errors="replace")))
    return found


if __name__ == "__main__":
    main()
