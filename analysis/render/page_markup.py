"""What laid-out pages lack for keyboards and screen readers, put in after the engine.

A link past the navigation is in the pages of neither engine (quarto-dev/quarto-cli, issue 14684). The rest
Quarto's own pages have: a section of the sidebar is a button there, and so on.
"""

from __future__ import annotations

import re
from pathlib import Path

_BODY = re.compile(r"<body\b[^>]*>")
_SKIP = '<a class="rr-skip" href="#quarto-document-content">Skip to the content</a>'
# Landmarks of one kind are told apart by their names.
_NAMES = (
    ('<nav class="navbar ', '<nav aria-label="Site" class="navbar '),
    ('<nav class="quarto-secondary-nav">', '<nav aria-label="Menu" class="quarto-secondary-nav">'),
    ('<nav id="quarto-sidebar" ', '<nav id="quarto-sidebar" aria-label="Pages" '),
    ('<nav id="TOC" ', '<nav id="TOC" aria-labelledby="toc-title" '),
    ('<nav class="page-navigation">', '<nav aria-label="Neighbours" class="page-navigation">'),
)
# A section's name and its arrow: two links without an address, which no key reaches.
_SECTION = re.compile(
    r'<a class="sidebar-item-text sidebar-link text-start" data-bs-toggle="collapse" '
    r'data-bs-target="#([\w-]+)" role="navigation" aria-expanded="(true|false)">(.*?)</a>\s*'
    r'<a class="sidebar-item-toggle text-start(?: collapsed)?".*?</a>',
    re.S,
)
_SCHEME = re.compile(
    r'<a class="quarto-color-scheme-toggle nav-link" href="" title="[^"]*" '
    r'onclick="window\.smalldocsToggleScheme\(\); return false;">(.*?)</a>',
    re.S,
)
# The menu of a narrow page: an icon alone says little.
_MENU = re.compile(
    r'(<button type="button" class="quarto-btn-toggle btn" aria-controls="quarto-sidebar") '
    r'aria-label="[^"]*">(<i [^>]*></i>)</button>'
)
_ICON = re.compile(r'<i class="(bi[^"]*)">')
# The two buttons say their state, and Escape folds the menu: smalldocs' script only changes classes. It reads
# the scheme from the page's colours, which are ours and follow the scheme: so the scheme is told first.
_STATES = """<script>(function(){
var root=document.documentElement,pages=document.getElementById('quarto-sidebar'),
menu=document.querySelector('.quarto-btn-toggle'),scheme=document.querySelector('.quarto-color-scheme-toggle');
function tell(){
if(menu&&pages)menu.setAttribute('aria-expanded',String(pages.classList.contains('show')));
if(scheme)scheme.setAttribute('aria-pressed',String(root.classList.contains('quarto-dark')));}
function seen(changes){
if(changes.some(function(c){return c.attributeName==='data-scheme'}))
root.classList.toggle('quarto-dark',root.dataset.scheme==='alternate');
tell();}
var observer=new MutationObserver(seen);
observer.observe(root,{attributes:true,attributeFilter:['class','data-scheme']});
if(pages)observer.observe(pages,{attributes:true,attributeFilter:['class']});
tell();
document.addEventListener('keydown',function(event){
if(event.key==='Escape'&&menu&&pages&&pages.classList.contains('show')){menu.click();menu.focus();}});
})();</script>
"""


def put_skip_links(site: Path) -> None:
    """A link to the content, first on every page of the report; once, however often a site is completed."""
    for path in sorted((site / "report").glob("*.html")):
        page = path.read_text(encoding="utf-8")
        if _SKIP not in page:
            linked = _BODY.sub(lambda m: m.group() + _SKIP, page, count=1)
            path.write_text(linked, encoding="utf-8")


def mended(page: str) -> str:
    """smalldocs' page with named landmarks, and buttons where links without an address stood for them."""
    for old, new in _NAMES:
        page = page.replace(old, new, 1)
    page = _SECTION.sub(_section, page)
    page = _SCHEME.sub(
        r'<button type="button" class="quarto-color-scheme-toggle nav-link" aria-label="Dark colours" '
        r'aria-pressed="false" onclick="window.smalldocsToggleScheme();">\1</button>',
        page,
    )
    page = _MENU.sub(r'\1 aria-expanded="false">\2 Pages</button>', page)
    page = _ICON.sub(r'<i class="\1" aria-hidden="true">', page)
    at = page.rfind("</body>")
    return page if at < 0 else page[:at] + _STATES + page[at:]


def _section(found: re.Match[str]) -> str:
    section, expanded, name = found.groups()
    closed = "" if expanded == "true" else " collapsed"
    return (
        f'<button type="button" class="sidebar-item-text sidebar-item-toggle sidebar-link text-start{closed}" '
        f'data-bs-toggle="collapse" data-bs-target="#{section}" aria-controls="{section}" '
        f'aria-expanded="{expanded}">{name}<i class="bi bi-chevron-right" aria-hidden="true"></i></button>'
    )
