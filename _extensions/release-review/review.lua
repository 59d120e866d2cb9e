-- Turns what the pages display (raw HTML: answers, tables, figures) into Typst for review.pdf.
-- Both engines run this file: Quarto through _extension.yml, the embedded engine through pandoc.

local answers = {
  ['rr-outcome-ship'] = 'good', ['rr-pass'] = 'good',
  ['rr-outcome-hold'] = 'warn', ['rr-inconclusive'] = 'warn',
  ['rr-outcome-block'] = 'bad', ['rr-fail'] = 'bad',
}
local media_dir = 'review_files/release-review'
local media_name = media_dir

local function typst(text) return pandoc.RawBlock('typst', text) end
local function typst_inline(text) return pandoc.RawInline('typst', text) end

-- A Typst string literal: nothing in `text` can end it.
local function quoted(text)
  text = text:gsub('[%c]+', ' '):gsub('\\', '\\\\'):gsub('"', '\\"')
  return '"' .. text .. '"'
end

local function tone(classes)
  for _, class in ipairs(classes) do
    if answers[class] then return answers[class] end
  end
  return nil
end

-- Lets a long name break at its joints instead of running into the next column.
local function breakable(text)
  if utf8.len(text) and utf8.len(text) > 12 then
    return (text:gsub('([_./:=-])(%w)', '%1\u{200B}%2'))
  end
  return text
end

local extensions = {
  ['image/svg+xml'] = 'svg', ['image/png'] = 'png', ['image/jpeg'] = 'jpg', ['image/gif'] = 'gif',
}

-- Typst reads files only, so a data URI becomes one, named by its content.
local function image(img)
  local path = img.src
  if path:sub(1, 5) == 'data:' then
    local mime, contents = pandoc.mediabag.fetch(path)
    local extension = extensions[(mime or ''):match('^[^;]+')]
    assert(extension and contents, 'review.lua: a figure is not SVG, PNG, JPEG or GIF: ' .. tostring(mime))
    -- Paper is light, whatever a figure would be on a dark screen.
    contents = contents:gsub('<style>@media %(prefers%-color%-scheme:dark%).-</style>', '')
    local name = pandoc.utils.sha1(contents) .. '.' .. extension
    pandoc.system.make_directory(media_dir, true)
    local file = assert(io.open(media_dir .. '/' .. name, 'wb'))
    file:write(contents)
    file:close()
    path = media_name .. '/' .. name
  end
  local alt = img.attributes['alt'] or pandoc.utils.stringify(img.caption)
  return typst_inline('#rr-image(' .. quoted(path) .. ', ' .. quoted(alt) .. ')')
end

local function has_class(attr, class)
  return attr.classes:includes(class)
end

local function cell_is(row, class)
  return #row.cells == 1 and has_class(row.cells[1].attr, class)
end

local function each_row(tbl, visit)
  for _, row in ipairs(tbl.head.rows) do visit(row) end
  for _, body in ipairs(tbl.bodies) do
    for _, row in ipairs(body.head) do visit(row) end
    for _, row in ipairs(body.body) do visit(row) end
  end
end

-- great-tables: title rows join the caption, source notes a paragraph below, classes alignments.
local function table_blocks(tbl)
  local caption, notes = pandoc.List(), pandoc.List()
  local heads = pandoc.List()
  for _, row in ipairs(tbl.head.rows) do
    if cell_is(row, 'gt_title') or cell_is(row, 'gt_subtitle') then
      local inlines = pandoc.utils.blocks_to_inlines(row.cells[1].contents)
      if #caption > 0 then caption:insert(pandoc.LineBreak()) else inlines = { pandoc.Strong(inlines) } end
      caption:extend(inlines)
    else
      heads:insert(row)
    end
  end
  tbl.head.rows = heads
  for _, row in ipairs(tbl.foot.rows) do
    for _, cell in ipairs(row.cells) do
      notes:extend(cell.contents)
    end
  end
  tbl.foot.rows = pandoc.List()
  -- A line break in a cell makes pandoc give all columns the same width: Typst fits them better.
  tbl.colspecs = tbl.colspecs:map(function(spec) return { spec[1], nil } end)
  for _, block in ipairs(tbl.caption.long) do
    local inlines = pandoc.utils.blocks_to_inlines({ block })
    if #caption > 0 then caption:insert(pandoc.LineBreak()) else inlines = { pandoc.Strong(inlines) } end
    caption:extend(inlines)
  end
  tbl.caption.long = pandoc.Blocks {}
  for _, row in ipairs(tbl.head.rows) do
    for _, cell in ipairs(row.cells) do
      local words = pandoc.utils.blocks_to_inlines(cell.contents)
      if #words > 0 then cell.contents = pandoc.Blocks { pandoc.Plain { pandoc.Strong(words) } } end
    end
  end

  local aligned = { gt_right = 'AlignRight', gt_center = 'AlignCenter', gt_left = 'AlignLeft' }
  each_row(tbl, function(row)
    local column = 1
    for _, cell in ipairs(row.cells) do
      for class, alignment in pairs(aligned) do
        if has_class(cell.attr, class) then cell.alignment = alignment end
      end
      cell.attr = pandoc.Attr()
      cell.contents = cell.contents:walk {
        Str = function(el) return pandoc.Str(breakable(el.text)) end,
        Code = function(el) return pandoc.Code(breakable(el.text)) end,
      }
      column = column + cell.col_span
    end
    row.attr = pandoc.Attr()
  end)
  -- The figure is made here, so that the table stands left under its caption.
  tbl.attr = pandoc.Attr('', { 'typst:no-figure' })
  local open = typst('#rr-table(' .. #tbl.colspecs .. ')[#figure(kind: table, block(width: 100%, align(left)[')
  local blocks = pandoc.Blocks { open, tbl }
  if #caption > 0 then
    blocks:extend { typst(']), caption: ['), pandoc.Plain(caption), typst('])') }
  else
    blocks:insert(typst(']))'))
  end
  for _, note in ipairs(notes) do
    blocks:extend { typst('#rr-note['), note, typst(']') }
  end
  blocks:insert(typst(']'))
  return blocks
end

-- Blocks between two pieces of Typst.
local function around(open, content, close)
  local blocks = pandoc.Blocks { typst(open) }
  blocks:extend(content)
  blocks:insert(typst(close))
  return blocks
end

local plain = {
  Image = image,
  Table = table_blocks,
  Div = function(div)
    -- What only serves on the site, such as text to copy.
    if has_class(div, 'rr-web') then return {} end
    if has_class(div, 'rr-answer') then
      return around('#rr-answer("' .. (tone(div.classes) or 'plain') .. '")[', div.content, ']')
    end
    if has_class(div, 'rr-first') then return around('', div.content, '#pagebreak(weak: true)') end
    if has_class(div, 'rr-columns') then return around('#rr-columns(', div.content, ')') end
    if has_class(div, 'rr-column') then return around('[', div.content, '],') end
    if has_class(div, 'rr-note') then return around('#rr-note[', div.content, ']') end
    return div.content
  end,
  Span = function(span)
    if has_class(span, 'rr-web') then return {} end
    local mark = tone(span.classes)
    if not mark then return span.content end
    local inlines = pandoc.Inlines { typst_inline('#rr-mark("' .. mark .. '")[') }
    inlines:extend(span.content)
    inlines:insert(typst_inline(']'))
    return inlines
  end,
  Header = function(header)
    header.attr = pandoc.Attr()
    return header
  end,
  Figure = function(figure)
    local blocks = pandoc.Blocks { typst('#figure([') }
    blocks:extend(figure.content)
    blocks:insert(typst('], caption: ['))
    blocks:extend(figure.caption.long)
    blocks:insert(typst('])'))
    return blocks
  end,
}

-- A page's links to other pages have no target in the one document: the words stay.
local function link(el)
  if el.target:match('^https?://') or el.target:match('^mailto:') then return el end
  return el.content
end

-- Quarto's boxes around a cell and what it displays: without them both engines set the same document.
local function unboxed(div)
  if has_class(div, 'cell') or has_class(div, 'cell-output') then return div.content end
end

local function raw_block(raw)
  if not raw.format:match('html') then return nil end
  local html = raw.text:gsub('<style.->.-</style>', ''):gsub('<script.->.-</script>', '')
  -- Without any file or network: pandoc would fetch what a frame points to.
  local blocks = pandoc.read(html, 'html', nil, {}).blocks
  return blocks:walk(plain):walk { Link = link }
end

local function meta(m)
  if m['release-review-media'] then
    media_dir = pandoc.utils.stringify(m['release-review-media'])
    media_name = pandoc.path.filename(media_dir)
  end
  local title = m.title and pandoc.utils.stringify(m.title) or ''
  m['title-text'] = typst_inline((title:gsub('[%c]+', ' '):gsub('\\', '\\\\'):gsub('"', '\\"')))
  return m
end

if not FORMAT:match('typst') then return {} end
return { { Meta = meta }, { RawBlock = raw_block, Link = link, Div = unboxed } }
