-- Sends the requests of a corpus (bench/lib/corpus.ts), each connection after pauses of random length, and times the
-- answers by status: wrk's own latencies mix certificates with refusals. The time a request was sent travels in its
-- X-Request-Id, which the server gives back.
-- wrk … -s overload.lua URL -- CORPUS MEAN-PAUSE-MS
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } mayfly_time;
  int clock_gettime(int clock, mayfly_time *time);
]]
local time = ffi.new("mayfly_time")
local monotonic = 1

local function microseconds()
  ffi.C.clock_gettime(monotonic, time)
  return tonumber(time.seconds) * 1e6 + math.floor(tonumber(time.nanoseconds) / 1000)
end

local heads = {}
local tails = {}
local position = 0
local pause = 0
local began
-- Globals, so that done() can read them: how many of each status, and how many certificates took so many tenths of a
-- millisecond, those of the first second apart.
statuses = {}
onset = {}
steady = {}
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(arguments)
  pause = tonumber(arguments[2])
  math.randomseed(microseconds() % 1e6)
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local length = file:read("*n")
    if length == nil then break end
    file:read(1)
    local text = file:read(length)
    local line = text:find("\r\n", 1, true)
    heads[#heads + 1] = text:sub(1, line + 1)
    tails[#tails + 1] = text:sub(line + 2)
  end
  file:close()
end

function delay()
  return math.floor(-pause * math.log(1 - math.random()))
end

function request()
  position = position % #heads + 1
  began = began or microseconds()
  return heads[position] .. string.format("X-Request-Id: %d\r\n", microseconds()) .. tails[position]
end

function response(status, headers)
  statuses[status] = (statuses[status] or 0) + 1
  if status ~= 200 and status ~= 201 then return end
  local now = microseconds()
  local sent = tonumber(headers["X-Request-Id"])
  local counts = now - began < 1e6 and onset or steady
  local bucket = math.floor((now - sent) / 100)
  counts[bucket] = (counts[bucket] or 0) + 1
end

local function pairsText(counts)
  local parts = {}
  for key, count in pairs(counts) do parts[#parts + 1] = string.format("[%d,%d]", key, count) end
  return "[" .. table.concat(parts, ",") .. "]"
end

function done(summary, _, _)
  local errors = summary.errors
  io.write(string.format('{"seconds":%.6f,"broken":%d,"statuses":%s,"onset":%s,"steady":%s}\n',
    summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.timeout,
    pairsText(threads[1]:get("statuses")), pairsText(threads[1]:get("onset")), pairsText(threads[1]:get("steady"))))
end
