-- One page of permit keys, counted by gate. Reads only.
--
-- ARGV: cursor, keys per page, then how many samples are still wanted of Governor, P2.6 and P3.3.
-- Gives: next cursor, strings of each of the three, keys of another type, then for each sample its
-- gate (1 to 3), itself as JSON, and itself as a line of text.
local root, deepest, widest = "quantum:permit:", 4096, 512
local gates = {"governor", "p26", "p33"}
local count, other, samples = {0, 0, 0}, 0, {}
local wanted = {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}

local function sample(gate, plan, key)
  local left = redis.call("PTTL", key)
  local size = redis.call("STRLEN", key)
  local value = redis.call("GETRANGE", key, 0, deepest - 1)
  local life = "never expires"
  if left >= 0 then
    life = string.format("ttl %d.%d s", math.floor(left / 1000), math.floor(left / 100) % 10)
  end
  samples[#samples + 1] = gate
  samples[#samples + 1] = string.format(
    "{\"gate\": \"%s\", \"plan_id\": %s, \"key\": %s, \"ttl_ms\": %d, \"state\": null, "
      .. "\"problem\": null, \"bytes\": %d, \"value\": %s}",
    gates[gate], quoted(plan, widest), quoted(key, widest), left, size, quoted(value, deepest))
  samples[#samples + 1] = string.format("  %s  %s  %s", shown(plan, widest), life, shown(value, 200))
end

local page = redis.call("SCAN", ARGV[1], "MATCH", root .. "*", "COUNT", ARGV[2])
for _, key in ipairs(page[2]) do
  local plan = string.sub(key, #root + 1)
  local gate, lead = 1, string.sub(plan, 1, 4)
  if lead == "p26:" then gate = 2 elseif lead == "p33:" then gate = 3 end
  if gate > 1 then plan = string.sub(plan, 5) end
  local kind = redis.call("TYPE", key).ok
  if kind == "string" then
    count[gate] = count[gate] + 1
    if wanted[gate] > 0 then
      wanted[gate] = wanted[gate] - 1
      sample(gate, plan, key)
    end
  elseif kind ~= "none" then
    other = other + 1
  end
end
local reply = {page[1], count[1], count[2], count[3], other}
for _, part in ipairs(samples) do reply[#reply + 1] = part end
return reply
