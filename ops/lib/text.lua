-- Sent in front of the scripts here: text that cannot steer a terminal or break JSON. No ' in it.
--
-- shown(value, limit): the first limit bytes as ASCII: JSON's escapes, and \\xNN for a byte that is
-- no UTF-8. quoted(value, limit): the same as a JSON string. Both as Python's
-- json.dumps(value.decode("utf-8", "backslashreplace")) writes them.
local short = {["\8"] = "\\b", ["\9"] = "\\t", ["\10"] = "\\n", ["\12"] = "\\f", ["\13"] = "\\r",
  ["\""] = "\\\"", ["\\"] = "\\\\"}

-- The code point at a position and how many bytes it has; nil for bytes that are no UTF-8.
local function point(text, at)
  local first, second, third, fourth = string.byte(text, at, at + 3)
  local function next_of(byte) return byte and byte >= 0x80 and byte <= 0xBF end
  if first < 0x80 then return first, 1 end
  if not next_of(second) then return nil end
  if first >= 0xC2 and first <= 0xDF then return (first - 0xC0) * 64 + second - 0x80, 2 end
  if not next_of(third) then return nil end
  if first >= 0xE0 and first <= 0xEF then
    local found = (first - 0xE0) * 4096 + (second - 0x80) * 64 + third - 0x80
    -- Too long a spelling, and halves of a pair, are not UTF-8.
    if found < 0x800 or (found >= 0xD800 and found <= 0xDFFF) then return nil end
    return found, 3
  end
  if not next_of(fourth) then return nil end
  if first >= 0xF0 and first <= 0xF4 then
    local found = (first - 0xF0) * 262144 + (second - 0x80) * 4096 + (third - 0x80) * 64
      + fourth - 0x80
    if found < 0x10000 or found > 0x10FFFF then return nil end
    return found, 4
  end
  return nil
end

local function quoted(value, limit)
  local text = string.sub(value, 1, limit)
  local made, at = {"\""}, 1
  while at <= #text do
    local plain = string.match(text, "^[^%c\"\\\127-\255]+", at)
    if plain then
      made[#made + 1], at = plain, at + #plain
    else
      local found, size = point(text, at)
      local char = string.sub(text, at, at)
      if short[char] then
        made[#made + 1] = short[char]
      elseif not found then
        made[#made + 1] = string.format("\\\\x%02x", string.byte(char))
      elseif found < 0x10000 then
        made[#made + 1] = string.format("\\u%04x", found)
      else
        local rest = found - 0x10000
        made[#made + 1] = string.format("\\u%04x\\u%04x", 0xD800 + math.floor(rest / 1024),
          0xDC00 + rest % 1024)
      end
      at = at + (size or 1)
    end
  end
  made[#made + 1] = "\""
  return table.concat(made)
end

local function shown(value, limit)
  return (string.gsub(string.sub(quoted(value, limit), 2, -2), "\\\"", "\""))
end

