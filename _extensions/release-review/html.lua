-- Loads the tables' script into each page of the site: a file of the site's own, in the head.
-- Run by Quarto alone; the embedded engine does the same in analysis/render/website.py.

if not FORMAT:match('html') then return {} end

return { {
  Meta = function()
    quarto.doc.add_html_dependency({
      name = 'release-review', version = '1.0.0', scripts = { 'release-review.js' },
    })
  end,
} }
