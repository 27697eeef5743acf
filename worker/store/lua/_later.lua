-- Put before every script that calls `later`: whether a stamp, `<revision>.<edition>`, is later than another. Of one without an
-- edition all editions have been.
local function later(stamp, other)
  local revision, edition = string.match(stamp, '^(%d+)%.(%d+)$')
  local before, until_ = string.match(other, '^(%d+)%.?(%d*)$')
  if not before then
    return true
  end
  revision, before = tonumber(revision), tonumber(before)
  return revision > before or (revision == before and until_ ~= '' and tonumber(edition) > tonumber(until_))
end

