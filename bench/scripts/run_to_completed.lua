-- One client of the REST API: starts an execution, asks for it until it has ended, and again. With a POLL_MS of 0 it
-- waits for the end in the request that starts the execution.
--
--   wrk -t32 -c32 -s run_to_completed.lua URL -- FLOW_ID POLL_MS
--
-- There is one Lua state a thread, so a thread must have one connection.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long sec; long nsec; } bench_timespec;
  int clock_gettime(int clock, bench_timespec *at);
]]
local CLOCK_MONOTONIC = 1
local STUCK_MS = 10000
local at = ffi.new("bench_timespec")

local function now_ms()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, at)
  return tonumber(at.sec) * 1000 + tonumber(at.nsec) / 1e6
end

local start, execution, began, poll_ms

-- Globals, because `done` can only fetch those.
latencies, accepted, polls, refused, poll_errors, not_completed, stuck = {}, 0, 0, 0, 0, 0, 0
example = ""

function init(args)
  poll_ms = tonumber(args[2])
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
  wrk.headers["Content-Type"] = "application/json"
  local headers = {}
  for name, value in pairs(wrk.headers) do
    headers[name] = value
  end
  if poll_ms == 0 then
    headers["Prefer"] = "wait=60"
  end
  start = wrk.format("POST", "/api/v1/flows/" .. args[1] .. "/run", headers, '{"input":{"key":"value"}}')
end

function delay()
  return execution and poll_ms or 0
end

-- wrk calls this once more than it sends, to look at the request: nothing is counted here.
function request()
  if execution then
    return wrk.format("GET", "/api/v1/executions/" .. execution)
  end
  began = now_ms()
  return start
end

local function ended_badly(body)
  example, execution = body:sub(1, 300), nil
end

local function ended_while_it_waited(status, body)
  if status == 200 and body:match('"status":"completed"') then
    accepted = accepted + 1
    latencies[#latencies + 1] = now_ms() - began
  else
    refused = refused + 1
    ended_badly(body)
  end
end

function response(status, headers, body)
  if poll_ms == 0 then
    return ended_while_it_waited(status, body)
  end
  if not execution then
    execution = status == 201 and body:match('"execution_id":"([^"]+)"') or nil
    if execution then
      accepted = accepted + 1
    else
      refused = refused + 1
      ended_badly(body)
    end
    return
  end
  polls = polls + 1
  local found = status == 200 and body:match('"status":"(%a+)"')
  if found == "completed" then
    latencies[#latencies + 1] = now_ms() - began
    execution = nil
  elseif not found then
    poll_errors = poll_errors + 1
    ended_badly(body)
  elseif found ~= "running" and found ~= "waiting" then
    not_completed = not_completed + 1
    ended_badly(body)
  elseif now_ms() - began > STUCK_MS then
    stuck = stuck + 1
    ended_badly(body)
  end
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary, latency, requests)
  local all, sums = {}, {}
  local names = { "accepted", "polls", "refused", "poll_errors", "not_completed", "stuck" }
  local text = ""
  for _, thread in ipairs(threads) do
    for _, ms in ipairs(thread:get("latencies")) do
      all[#all + 1] = string.format("%.3f", ms)
    end
    for _, name in ipairs(names) do
      sums[name] = (sums[name] or 0) + thread:get(name)
    end
    text = text ~= "" and text or thread:get("example")
  end
  io.write(string.format('{"seconds":%.6f,', summary.duration / 1e6))
  for _, name in ipairs(names) do
    io.write(string.format('"%s":%d,', name, sums[name]))
  end
  local socket = summary.errors
  io.write(string.format('"socket_errors":%d,', socket.connect + socket.read + socket.write + socket.timeout))
  io.write(string.format('"example":"%s",', text:gsub('[%c"\\]', " ")))
  io.write('"latencies_ms":[', table.concat(all, ","), "]}\n")
end
