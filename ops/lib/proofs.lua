-- Results of the trading side, read as quantum_ops/order_id.py and codec.py read them. Reads only.
--
-- ARGV: what to do, then its arguments:
--   last SYMBOL                      -> entries there are, newest entry id ("0-0" of none)
--   back FROM COUNT SYMBOL PLAN      newest first, from entry id FROM ("+", "(ID")
--   on FROM COUNT SYMBOL PLAN        oldest first
--   plan PLAN SYMBOL                 by the index of order_proof
-- The last three give: entries read, id of the last one, executed ones that match, those of them
-- without an order id, the newest of these ("" for none), the server's clock in ms, and for a proof
-- two things more: itself as JSON, and itself as lines of text (joined by line feeds).
local stream = "quantum:stream:apply.result"
local index = "quantum:ops:order_proof:plan:"
local largest, widest, deepest = 262144, 512, 200
local known = {plan_id = 1, executed = 1, symbol = 1, order_id = 1, details = 1, steps_results = 1,
  source = 1, timestamp = 1, error = 1}
local nothing = {none = 1, null = 1, nan = 1, undefined = 1, ["true"] = 1, ["false"] = 1}

-- Spaces as Python strips them.
local spaces = {["\194\133"] = 1, ["\194\160"] = 1, ["\225\154\128"] = 1, ["\226\128\168"] = 1,
  ["\226\128\169"] = 1, ["\226\128\175"] = 1, ["\226\129\159"] = 1, ["\227\128\128"] = 1}
for last = 128, 138 do spaces["\226\128" .. string.char(last)] = 1 end
local function stripped(text)
  while true do
    local rest = string.match(text, "^[ \9-\13\28-\31]+()")
    if rest then text = string.sub(text, rest)
    elseif spaces[string.sub(text, 1, 2)] then text = string.sub(text, 3)
    elseif spaces[string.sub(text, 1, 3)] then text = string.sub(text, 4)
    else break end
  end
  while true do
    local rest = string.match(text, "^.-()[ \9-\13\28-\31]+$")
    if rest then text = string.sub(text, 1, rest - 1)
    elseif spaces[string.sub(text, -2)] then text = string.sub(text, 1, -3)
    elseif spaces[string.sub(text, -3)] then text = string.sub(text, 1, -4)
    else break end
  end
  return text
end

local function usable(text)
  if #text > 4096 then return "" end
  text = stripped(text)
  if #text > 64 or not string.match(text, "^[%w._:/-]+$") or nothing[string.lower(text)] then return "" end
  if string.match(text, "^-%d+$") or string.match(text, "^[0.]+$") then return "" end
  return text
end

local function is_utf8(text)
  local at = 1
  while true do
    at = string.match(text, "^[%z\1-\127]*()", at)
    if at > #text then return true end
    local _, size = point(text, at)
    if not size then return false end
    at = at + size
  end
end

local function characters(text)
  return select(2, string.gsub(text, "[^\128-\191]", ""))
end

-- JSON as Python reads it. Only what is asked of it is kept: of an object its texts and numbers by
-- name, and whether order_id stands in it twice; of a list its objects.
local function json(text)
  local at, depth = 1, 0
  local value
  local function bad() error("bad", 0) end
  local function blank() at = string.match(text, "^[ \9\10\13]*()", at) end
  local function utf8(found)
    if found < 0x80 then return string.char(found) end
    if found < 0x800 then return string.char(0xC0 + math.floor(found / 64), 0x80 + found % 64) end
    if found < 0x10000 then
      return string.char(0xE0 + math.floor(found / 4096), 0x80 + math.floor(found / 64) % 64, 0x80 + found % 64)
    end
    return string.char(0xF0 + math.floor(found / 262144), 0x80 + math.floor(found / 4096) % 64,
      0x80 + math.floor(found / 64) % 64, 0x80 + found % 64)
  end
  local plain = {["\""] = "\"", ["\\"] = "\\", ["/"] = "/", b = "\8", f = "\12", n = "\10", r = "\13", t = "\9"}
  local function chars()
    local made = {}
    at = at + 1
    while true do
      local run, after = string.match(text, "^([^%z\1-\31\"\\]*)()", at)
      made[#made + 1], at = run, after
      local char = string.sub(text, at, at)
      if char == "\"" then
        at = at + 1
        return table.concat(made)
      end
      if char ~= "\\" then bad() end
      local escape = string.sub(text, at + 1, at + 1)
      if plain[escape] then
        made[#made + 1], at = plain[escape], at + 2
      else
        local hex = string.match(text, "^u(%x%x%x%x)", at + 1)
        if not hex then bad() end
        local found = tonumber(hex, 16)
        at = at + 6
        if found >= 0xD800 and found <= 0xDBFF then
          local low = string.match(text, "^\\u(%x%x%x%x)", at)
          low = low and tonumber(low, 16)
          if low and low >= 0xDC00 and low <= 0xDFFF then
            found, at = 0x10000 + (found - 0xD800) * 1024 + low - 0xDC00, at + 6
          end
        end
        made[#made + 1] = utf8(found)
      end
    end
  end
  local function number()
    local whole, after = string.match(text, "^(-?%d+)()", at)
    if not whole or string.match(whole, "^-?0%d") then
      -- 012 is 0 and then something that may not follow.
      whole, after = string.match(text, "^(-?0)()", at)
      if not whole then bad() end
    end
    local rest, ends = string.match(text, "^(%.%d+)()", after)
    local finish = ends or after
    local power, done = string.match(text, "^([eE][+-]?%d+)()", finish)
    finish = done or finish
    at = finish
    if rest or power then return {kind = "float", text = whole .. (rest or "") .. (power or "")} end
    if #string.gsub(whole, "-", "") > 4300 then bad() end
    return {kind = "int", text = whole == "-0" and "0" or whole}
  end
  local words = {["true"] = 1, ["false"] = 1, null = 1, NaN = "float", Infinity = "float", ["-Infinity"] = "float"}
  local function object()
    local found = {kind = "object", at = {}}
    at = at + 1
    blank()
    if string.sub(text, at, at) == "}" then at = at + 1 return found end
    local times = 0
    while true do
      if string.sub(text, at, at) ~= "\"" then bad() end
      local name = chars()
      blank()
      if string.sub(text, at, at) ~= ":" then bad() end
      at = at + 1
      local one = value()
      if name == "order_id" then times = times + 1 end
      found.at[name] = one
      blank()
      local char = string.sub(text, at, at)
      at = at + 1
      if char == "}" then break end
      if char ~= "," then bad() end
      blank()
    end
    if times > 1 then found.at.order_id = nil end
    return found
  end
  local function list()
    local found = {kind = "list", at = {}}
    at = at + 1
    blank()
    if string.sub(text, at, at) == "]" then at = at + 1 return found end
    while true do
      found.at[#found.at + 1] = value()
      blank()
      local char = string.sub(text, at, at)
      at = at + 1
      if char == "]" then return found end
      if char ~= "," then bad() end
    end
  end
  value = function()
    blank()
    depth = depth + 1
    if depth > 150 then bad() end
    local char, made = string.sub(text, at, at), nil
    if char == "{" then made = object()
    elseif char == "[" then made = list()
    elseif char == "\"" then made = {kind = "text", text = chars()}
    else
      for word, kind in pairs(words) do
        if string.sub(text, at, at + #word - 1) == word then
          at = at + #word
          made = {kind = kind == 1 and "word" or kind, text = word}
          break
        end
      end
      made = made or number()
    end
    depth = depth - 1
    return made
  end
  if text == "" then return nil end
  local good, made = pcall(function()
    local one = value()
    blank()
    if at <= #text then bad() end
    return one
  end)
  return good and made or nil
end

local function id_of(step)
  local found = step and step.kind == "object" and step.at.order_id
  if found and (found.kind == "text" or found.kind == "int") then return usable(found.text) end
  return ""
end

-- Text of the first name that a holder has, over all holders in turn.
local function said(holders, names)
  for _, holder in ipairs(holders) do
    for _, name in ipairs(names) do
      local found = holder[name]
      if type(found) == "table" then
        found = (found.kind == "text" or found.kind == "int" or found.kind == "float") and found.text
      end
      if found and found ~= "" then return found end
    end
  end
  return ""
end

local function civil(ms)
  local seconds = math.floor(ms / 1000)
  local days, rest = math.floor(seconds / 86400), seconds % 86400
  -- Days since 0000-03-01, so that a leap day ends its year.
  local shifted = days + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  local day = of_year - math.floor((153 * month + 2) / 5) + 1
  month = month + (month < 10 and 3 or -9)
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return string.format("%04d-%02d-%02d %02d:%02d:%02d", year, month, day, math.floor(rest / 3600),
    math.floor(rest / 60) % 60, rest % 60)
end

-- Epoch seconds or ms as ten to thirteen digits, else when the entry was added.
local function moment(text, id)
  local seconds = string.match(text, "^(%d%d%d%d%d%d%d%d%d%d)$") or string.match(text, "^(%d%d%d%d%d%d%d%d%d%d)%.%d+$")
  if seconds then return civil(tonumber(seconds) * 1000) end
  if string.match(text, "^%d%d%d%d%d%d%d%d%d%d%d%d%d$") then return civil(tonumber(text)) end
  local ms = tonumber(string.match(id, "^(%d+)"))
  return civil(math.min(ms, 253402300799999))
end

local function told(proof)
  local rows = {
    {"Entry ID", "entry_id"}, {"Symbol", "symbol"}, {"Plan ID", "plan_id"}, {"Executed", "executed"},
    {"Order ID", "order_id"}, {"Side", "side"}, {"Quantity", "quantity"}, {"Price", "price"},
    {"Timestamp", "timestamp"},
  }
  local text, parts = {}, {}
  for number, row in ipairs(rows) do
    local value = proof[row[2]]
    text[number] = string.format("%-12s %s", row[1] .. ":", value == "" and "-" or shown(value, deepest))
    if row[2] == "executed" then
      parts[number] = "\"executed\": true"
    elseif row[2] == "timestamp" and value ~= "" then
      parts[number] = "\"timestamp\": \"" .. string.gsub(value, " ", "T") .. "Z\""
    else
      parts[number] = "\"" .. row[2] .. "\": " .. (value == "" and "null" or quoted(value, widest))
    end
  end
  parts[#parts + 1] = "\"order_id_in\": \"" .. proof.where .. "\""
  parts[#parts + 1] = "\"entry\": \"" .. proof.entry .. "\""
  return "{" .. table.concat(parts, ", ") .. "}", table.concat(text, "\n")
end

-- Of one entry: whether it is an execution that matches, and the proof that it is.
local function judge(entry, symbol, plan)
  local id, flat = entry[1], entry[2]
  local fields, extra, size = {}, {}, 0
  for number = 1, #flat, 2 do
    local name, value = flat[number], flat[number + 1]
    if known[name] and fields[name] then return false end
    if known[name] then fields[name] = value end
    extra[name] = value
    size = size + #value + 1
  end
  if size - 1 > largest or not fields.plan_id or not fields.executed then return false end
  local flag = string.lower(fields.executed)
  if flag ~= "true" and flag ~= "1" then return false end
  if plan ~= "" and fields.plan_id ~= plan then return false end
  if symbol ~= "" and fields.symbol ~= symbol then return false end
  for number = 1, #flat, 2 do
    if not is_utf8(flat[number]) then return false end
  end
  for _, value in pairs(fields) do
    if not is_utf8(value) then return false end
  end
  if fields.plan_id == "" or characters(fields.plan_id) > 256 then return false end
  local found, where = usable(fields.order_id or ""), "order_id"
  local details = json(fields.details or "")
  local steps = json(fields.steps_results or "")
  local holders, step = {extra}, nil
  if found == "" then found, where = id_of(details), "details" end
  if steps and steps.kind == "list" then
    for number = #steps.at, 1, -1 do
      local one = steps.at[number]
      if id_of(one) ~= "" then
        step = one
        break
      end
      if one.kind == "object" and not step then step = one end
    end
    if found == "" and step then found, where = id_of(step), "steps_results" end
  end
  if details and details.kind == "object" then holders[#holders + 1] = details.at end
  if step then holders[#holders + 1] = step.at end
  if found == "" then return true end
  return true, {
    entry_id = id, symbol = fields.symbol or "", plan_id = fields.plan_id, executed = "true",
    order_id = found, where = where, entry = "present",
    side = said(holders, {"side"}),
    quantity = said(holders, {"filled_qty", "executed_qty", "executedQty", "quantity", "qty"}),
    price = said(holders, {"avg_price", "avgPrice", "price"}),
    timestamp = moment(fields.timestamp or "", id),
  }
end

local time = redis.call("TIME")
local now = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
local what = ARGV[1]
if what == "last" then
  local newest = redis.call("XREVRANGE", stream, "+", "-", "COUNT", 1)
  return {redis.call("XLEN", stream), newest[1] and newest[1][1] or "0-0"}
end
local read, last, executed, without, bare, proof = 0, "", 0, 0, "", nil
local function over(entries, symbol, plan)
  -- Of a million results of other plans none needs to be understood: where the last one had its
  -- plan_id and its symbol, the next one has them, too. A field that stands there with another value
  -- cannot match, whatever else there is; everything else is judged in full.
  local plan_at, symbol_at = 0, 0
  for number = 1, #entries do
    local entry = entries[number]
    local flat = entry[2]
    if (plan == "" or flat[plan_at] ~= "plan_id" or flat[plan_at + 1] == plan)
      and (symbol == "" or flat[symbol_at] ~= "symbol" or flat[symbol_at + 1] == symbol) then
      for at = 1, #flat, 2 do
        if flat[at] == "plan_id" then plan_at = at elseif flat[at] == "symbol" then symbol_at = at end
      end
      local matches, made = judge(entry, symbol, plan)
      if matches then
        executed = executed + 1
        if made then
          read, last, proof = number, entry[1], made
          return
        end
        without = without + 1
        if bare == "" then bare = entry[1] end
      end
    end
  end
  read = #entries
  if read > 0 then last = entries[read][1] end
end
if what == "back" then
  over(redis.call("XREVRANGE", stream, ARGV[2], "-", "COUNT", ARGV[3]), ARGV[4], ARGV[5])
elseif what == "on" then
  over(redis.call("XRANGE", stream, ARGV[2], "+", "COUNT", ARGV[3]), ARGV[4], ARGV[5])
else
  local plan, symbol = ARGV[2], ARGV[3]
  local row = redis.call("HMGET", index .. plan, "entry_id", "symbol", "order_id", "executed_at")
  local id, order = row[1] or "", row[3] or ""
  local named = row[2] or ""
  local ms, number = string.match(id, "^(%d+)-(%d+)$")
  if ms and #ms <= 18 and #number <= 18 and order ~= "" and usable(order) == order
    and (symbol == "" or symbol == named) then
    local entries = redis.call("XRANGE", stream, id, id)
    if entries[1] then
      -- The index is a hint: what counts is what the entry says.
      over(entries, symbol, plan)
    elseif is_utf8(plan) and is_utf8(named) and is_utf8(row[4] or "") then
      proof = {entry_id = id, symbol = named, plan_id = plan, executed = "true", order_id = order,
        where = "index", entry = "trimmed", side = "", quantity = "", price = "",
        timestamp = moment(row[4] or "", id)}
    end
  end
end
local reply = {read, last, executed, without, bare, now}
if proof then
  local object, text = told(proof)
  reply[7], reply[8] = object, text
end
return reply
