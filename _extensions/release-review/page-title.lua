-- A page has no front matter, as review.qmd includes it: its heading is its title. Without this Quarto puts
-- the file's name on the browser's tab.

function Pandoc(doc)
  local heading = doc.meta.title or doc.blocks:find_if(function(block)
    return block.t == 'Header' and block.level == 1
  end)
  if heading then
    doc.meta.pagetitle = pandoc.utils.stringify(heading)
    return doc
  end
end
