-- Requests that show no token, so many a second.
--
--   wrk -t1 -c50 -s no_token.lua URL -- DELAY_MS

local delay_ms = 0

function init(args)
  delay_ms = tonumber(args[1])
  wrk.method, wrk.path = "GET", "/api/v1/flows"
end

function delay()
  -- Not all at once.
  return delay_ms * (0.5 + math.random())
end

function done(summary, latency, requests)
  io.write(string.format('{"seconds":%.6f,"requests":%d}\n', summary.duration / 1e6, summary.requests))
end
