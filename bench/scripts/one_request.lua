-- The same request again and again, with a token.
--
--   wrk -s one_request.lua URL -- METHOD PATH [MOST [PAUSE_MS]]
--
-- With MOST, wrk stops at so many answers; it must then have one thread, as each counts for itself. 0 is no limit.
-- With PAUSE_MS, each connection rests about so long before each request.

local ffi = require("ffi")
ffi.cdef [[
  int getpid(void);
  int kill(int pid, int signal);
]]
local SIGINT = 2

local answered, most, pause_ms = 0, nil, 0
failed = 0
example = ""

function init(args)
  wrk.method, wrk.path = args[1], args[2]
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
  if wrk.method == "POST" then
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = "{}"
  end
  most = tonumber(args[3])
  most = most ~= 0 and most or nil
  pause_ms = tonumber(args[4]) or 0
  if pause_ms == 0 then
    delay = nil
  end
  -- Looking at every answer costs the client time; wrk counts the bad ones by itself.
  if not most then
    response = nil
  end
end

function delay()
  return pause_ms * (0.5 + math.random())
end

function response(status, headers, body)
  if status ~= 200 and status ~= 201 then
    failed = failed + 1
    example = body:sub(1, 300)
  end
  answered = answered + 1
  if answered == most then
    -- A thread that stops by itself would leave wrk asleep until its time is up.
    ffi.C.kill(ffi.C.getpid(), SIGINT)
  end
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary, latency, requests)
  local text = ""
  for _, thread in ipairs(threads) do
    text = text ~= "" and text or thread:get("example")
  end
  local errors = summary.errors
  io.write(string.format('{"seconds":%.6f,"requests":%d,"not_2xx":%d,"socket_errors":%d,"example":"%s",',
    summary.duration / 1e6, summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, text:gsub('[%c"\\]', " ")))
  io.write(string.format('"p50_ms":%.3f,"p99_ms":%.3f}\n',
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
