import{G as e,Kt as t,O as n,R as r,U as i,it as a,j as o,l as s,n as c,nt as l,qt as u,tt as d,ut as f,y as p}from"./index.js";import{T as m}from"./shared.js";import{h}from"./document.js";import{n as g}from"./view.js";import{Editor as _,n as v,t as y}from"./flow-edit.js";import{n as b}from"./flow.js";import{r as x}from"./places.js";import{n as S}from"./yaml.js";function C({layout:e}){return f(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>f(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>f(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:r,height:i})=>f(`g`,{children:[f(`rect`,{class:`picture-node`,x:t,y:n,width:r,height:i,rx:`10`}),f(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var w={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Add nodes on its graph, or write it, with completion for every key.`,titles:{hello:`Hello`,http:`Call an API and handle errors`,webhook:`Receive a webhook`,schedule:`Start at fixed times`,approval:`Ask before you act`,foreach:`Work through a list`,switch:`Choose a way`,poll:`Follow a job elsewhere`,signals:`Wait for signals for days`,upload:`Send a file`,email:`Send an e-mail`,mailbox:`Read a mailbox`,sql:`Query a database`,agent:`Let a model call tools`}},T=Object.assign({"../../../../src/flowrunner/cli/flow_templates/agent.yaml":`# Needs the secret LLM_KEY, a key of the provider's API.
# Its tool asks https://shop.example.com: name your own.
metadata: {name: answer-question, description: Lets a language model look up orders and answer a question}

inputs:
  question: {type: string, maxLength: 2000, default: Where is order 7?}

nodes:
  answer:
    type: agent
    params:
      provider: openai
      api_key: "\${secrets.LLM_KEY}"
      model: gpt-4o-mini
      system: You answer questions of customers about their orders, in two sentences at most.
      prompt: "\${flow.input.question}"
      max_turns: 5
      tools:
        - name: order
          description: An order with its status, by its number
          parameters: {type: object, properties: {number: {type: integer}}, required: [number]}
          http.request: {url: "https://shop.example.com/orders/\${call.arguments.number}"}
    timeout: 5m
    retry: {max: 3}
    output: "\${result.content}"
    next: {error.agent: unanswered}

  unanswered:
    type: return
    params: {value: Somebody will write to you.}

tests:
  the_model_looks_up_an_order:
    mocks:
      ask:
        - result: {finish_reason: tool_calls, tool_calls: [{id: c1, name: order, arguments: {number: 7}}]}
        - result: {finish_reason: stop, tool_calls: [], content: It was sent.}
      order: {result: {status_code: 200, body: {number: 7, status: sent}}}
    expect: {result: It was sent., tries: {ask: 2, order: 1}}

  it_finds_no_answer:
    mocks: {answer: {error: agent.turns}}
    expect: {path: [answer, unanswered]}
`,"../../../../src/flowrunner/cli/flow_templates/approval.yaml":`metadata: {name: ask-first, description: Asks a person before it acts; declines without an answer}

inputs:
  amount: {type: number, default: 250}

nodes:
  route:
    type: switch
    params:
      cases:
        - {when: "flow.input.amount > 100", action: large}
    next: {large: ask, default: accept}

  ask:
    type: approval
    params: {prompt: "Approve \${flow.input.amount}?"}
    timeout: 1d
    next: {approved: accept, rejected: decline, timeout: decline}

  accept:
    type: return
    params: {value: {accepted: true, amount: "\${flow.input.amount}"}}

  decline:
    type: return
    params: {value: {accepted: false}}

tests:
  small_amounts_need_nobody:
    input: {amount: 20}
    expect: {path: [route, accept], result: {accepted: true, amount: 20}}

  approved:
    approvals: {ask: {approved: true, after: 3h}}
    expect: {result: {accepted: true, amount: 250}}

  rejected:
    approvals: {ask: {approved: false}}
    expect: {result: {accepted: false}}

  nobody_answers:
    expect: {path: [route, ask, decline], result: {accepted: false}}
`,"../../../../src/flowrunner/cli/flow_templates/email.yaml":`metadata: {name: tell-customer, description: Sends an e-mail and goes on if nobody has that address}

vars: {shop: "The shop <shop@example.com>"}

inputs:
  order: {type: integer}
  customer: {type: string, format: email}

nodes:
  tell:
    type: email.send
    params:
      host: smtp.example.com
      username: shop@example.com
      password: "\${secrets.SMTP_PASSWORD}"
      from: "\${vars.shop}"
      to: "\${flow.input.customer}"
      subject: "Order \${flow.input.order} is paid"
      body: |
        Thank you. Your order \${flow.input.order} is on its way.
    # After an error that may pass, such as email.451. A lost connection may then send it twice.
    retry: {max: 5, delay: 1m}
    next: {default: done, error.email.5xx: note}

  note:
    type: log
    params: {level: warn, message: "The e-mail was refused: \${error.message}"}
    next: done

  done:
    type: return
    params: {value: {told: "\${nodes.tell.status === 'completed'}"}}

tests:
  the_customer_is_told:
    input: {order: 7, customer: ada@example.com}
    mocks: {tell: {result: {message_id: <1@example.com>, accepted: [ada@example.com], refused: []}}}
    expect: {result: {told: true}}

  there_is_no_such_mailbox:
    input: {order: 8, customer: nobody@example.com}
    mocks: {tell: {error: {type: email.550, message: No such mailbox}}}
    expect: {result: {told: false}, logs: [{message: "The e-mail was refused: No such mailbox"}]}
`,"../../../../src/flowrunner/cli/flow_templates/foreach.yaml":`metadata: {name: work-list, description: Works through a list with three at a time and collects the results}

inputs:
  orders: {type: array, default: [{id: 1, total: 40}, {id: 2, total: 75}, {id: 3, total: 12}]}

nodes:
  each_order:
    type: foreach
    params: {items: "\${flow.input.orders}", as: order, concurrency: 3}
    nodes:
      price:
        type: transform
        params: {value: {id: "\${order.id}", gross: "\${order.total * 1.19}"}}
    next: report

  report:
    type: transform
    params:
      script: |
        const sum = input.reduce((total, order) => total + order.gross, 0);
        return {orders: input.length, sum: Math.round(sum * 100) / 100};

tests:
  the_prices_are_summed_up:
    expect: {result: {orders: 3, sum: 151.13}}

  no_orders:
    input: {orders: []}
    expect: {result: {orders: 0, sum: 0}}
`,"../../../../src/flowrunner/cli/flow_templates/hello.yaml":`metadata: {name: hello, description: Makes a greeting from an input}

inputs:
  name: {type: string, default: world}

nodes:
  greet:
    type: transform
    params: {value: "Hello, \${flow.input.name}!"}
    next: say

  say:
    type: log
    params: {message: "\${input}"}
    next: done

  done:
    type: return
    params: {value: {text: "\${input}"}}

tests:
  ada:
    input: {name: Ada}
    expect: {result: {text: "Hello, Ada!"}, logs: ["Hello, Ada!"]}
`,"../../../../src/flowrunner/cli/flow_templates/http.yaml":`metadata: {name: call-api, description: Reads from an API with retries and handles its errors}

vars: {api: "https://api.example.com"}

nodes:
  fetch:
    type: http.request
    params: {url: "\${vars.api}/orders"}
    timeout: 20s
    retry: {max: 3, delay: 2s}
    output: "\${result.body}"
    next: {default: done, error.http.404: nothing, error: give_up}

  done:
    type: return
    params: {value: "\${input}"}

  nothing:
    type: return
    params: {value: []}

  # Every other error ends here: the execution fails and says why.
  give_up:
    type: fail
    params: {error: api.failed, message: "\${error.message}"}

tests:
  a_server_that_is_down_is_asked_again:
    mocks:
      fetch: [{error: http.503}, {result: {body: [{id: 7}]}}]
    expect: {tries: {fetch: 2}, result: [{id: 7}]}

  no_orders:
    mocks: {fetch: {error: http.404}}
    expect: {path: [fetch, nothing], result: []}

  another_error:
    mocks: {fetch: {error: {type: http.401, message: The token has expired}}}
    expect: {error: {type: api.failed, message: The token has expired}}
`,"../../../../src/flowrunner/cli/flow_templates/mailbox.yaml":`# Needs the secret IMAP_PASSWORD of the mailbox, and the
# configuration values imap_host and imap_user.
metadata: {name: read-mailbox, description: Reads new messages of a mailbox every five minutes and logs them}

triggers:
  poll:
    type: schedule
    every: 5m
    # Where the last execution has ended.
    input:
      after_uid: "\${trigger.last?.result.last_uid ?? null}"
      uid_validity: "\${trigger.last?.result.uid_validity ?? null}"

inputs:
  after_uid: {type: [integer, "null"], default: null}
  uid_validity: {type: [integer, "null"], default: null}

nodes:
  read:
    type: email.receive
    params:
      host: "\${config.imap_host}"
      username: "\${config.imap_user}"
      password: "\${secrets.IMAP_PASSWORD}"
      limit: 50
      after_uid: "\${flow.input.after_uid}"
      uid_validity: "\${flow.input.uid_validity}"
    next: each

  each:
    type: foreach
    params: {items: "\${input.messages}", as: mail}
    nodes:
      note:
        type: log
        # With the words of a server that does not give the message: it is not read again.
        params:
          message: "\${mail.error ? \`Message \${mail.uid} was not given: \${mail.error}\` : mail.subject}"
          level: "\${mail.error ? 'error' : 'info'}"
    next: done

  done:
    type: return
    params: {value: {last_uid: "\${nodes.read.result.last_uid}", uid_validity: "\${nodes.read.result.uid_validity}"}}

tests:
  two_messages:
    config: {imap_host: imap.example.com, imap_user: orders@example.com}
    trigger: {name: poll, last: {result: {last_uid: 41, uid_validity: 7}}}
    mocks:
      read:
        result: {messages: [{uid: 42, subject: One}, {uid: 44, subject: "", error: cannot be read}], uid_validity: 7, last_uid: 44, more: false}
    expect: {tries: {note: 2}, result: {last_uid: 44, uid_validity: 7}}

  the_first_time:
    config: {imap_host: imap.example.com, imap_user: orders@example.com}
    trigger: poll
    mocks: {read: {result: {messages: [], uid_validity: 7, last_uid: 0, more: false}}}
    expect: {tries: {note: 0}, result: {last_uid: 0, uid_validity: 7}}
`,"../../../../src/flowrunner/cli/flow_templates/poll.yaml":`metadata: {name: run-job, description: Begins a job elsewhere and follows it to its end or a deadline}

vars: {api: "https://jobs.example.com", job: null}

on_finish: stop

nodes:
  begin:
    type: http.request
    params: {method: POST, url: "\${vars.api}/jobs", body: {command: backup}}
    # The same Idempotency-Key in each attempt tells the other server that it is one job.
    retry: {max: 3}
    next: keep

  keep:
    type: set
    params: {job: "\${input.body.id}"}
    next: follow

  follow:
    type: while
    params: {when: "index === 0 || input.state === 'running'", delay: 10s}
    timeout: 30m
    nodes:
      look:
        type: http.request
        params: {url: "\${vars.api}/jobs/\${vars.job}"}
        retry: {max: 5}
        output: "\${result.body}"
    next: {default: judge, error.timeout: late}

  judge:
    type: switch
    params: {cases: [{when: "input.state === 'done'", action: good}]}
    next: {good: done, default: bad}

  done:
    type: return
    params: {value: {job: "\${vars.job}"}}

  bad:
    type: fail
    params: {error: job.failed, message: "The job \${vars.job} is \${input.state}"}

  late:
    type: fail
    params: {error: job.late, message: "The job \${vars.job} takes more than half an hour"}

  # Also after a cancellation.
  stop:
    type: http.request
    if: "vars.job !== null && execution.status !== 'completed'"
    params: {method: DELETE, url: "\${vars.api}/jobs/\${vars.job}", expect_status: [200, 204, 404, 409]}
    retry: {max: 5}

tests:
  it_ends:
    mocks:
      begin: {result: {body: {id: 7}}}
      look: [{result: {body: {state: running}}}, {result: {body: {state: done}}}]
    expect: {result: {job: 7}, tries: {look: 2}}

  it_fails:
    mocks: {begin: {result: {body: {id: 7}}}, look: {result: {body: {state: failed}}}, stop: {result: {status_code: 404}}}
    expect: {error: {type: job.failed, message: The job 7 is failed}, handlers: [stop]}

  it_takes_too_long:
    mocks: {begin: {result: {body: {id: 7}}}, look: {result: {body: {state: running}}}, stop: {result: {status_code: 200}}}
    expect: {error: job.late, handlers: [stop]}

  it_is_stopped_when_the_execution_is_cancelled:
    cancel_after: 1m
    mocks: {begin: {result: {body: {id: 7}}}, look: {result: {body: {state: running}}}, stop: {result: {status_code: 200}}}
    expect: {status: cancelled, handlers: [stop]}
`,"../../../../src/flowrunner/cli/flow_templates/schedule.yaml":`metadata: {name: nightly-report, description: Starts every night and sends a report of the day before}

vars: {api: "https://api.example.com"}

inputs:
  until: {type: string, format: date}

triggers:
  nightly:
    type: schedule
    cron: "30 0 * * *"
    timezone: Europe/Berlin
    input: {until: "\${trigger.due_local.slice(0, 10)}"} # the day in Berlin, not in UTC

nodes:
  fetch:
    type: http.request
    params: {url: "\${vars.api}/orders", query: {until: "\${flow.input.until}"}}
    retry: {max: 5, delay: 1m}
    output: "\${result.body}"
    next: sum

  sum:
    type: transform
    params: {value: {until: "\${flow.input.until}", orders: "\${input.length}"}}
    next: send

  send:
    type: webhook
    params: {url: "\${vars.api}/reports", body: "\${input}"}
    next: done

  done:
    type: return
    params: {value: "\${nodes.sum.result}"}

tests:
  the_orders_before_the_day_in_berlin_are_counted:
    trigger: {name: nightly, due_at: "2027-07-31T00:30:00+02:00"}
    mocks:
      fetch: {result: {body: [{id: 1}, {id: 2}]}}
      send: {result: {status_code: 200}}
    expect: {result: {until: "2027-07-31", orders: 2}}
`,"../../../../src/flowrunner/cli/flow_templates/signals.yaml":`metadata: {name: follow-order, description: Waits for signals for days with reminders and can be cancelled}

vars: {api: "https://api.example.com"}

inputs:
  # Other programs find the execution by it: flowrunner executions list --with-input order=A-7
  order: {type: string, searchable: true}

limits: {timeout: 30d}

nodes:
  life:
    type: parallel
    params: {join: any}
    branches:
      order:
        nodes:
          # flowrunner signal ID paid --payload '{"amount": 20}'
          paid:
            type: wait
            params: {key: paid, timeout: 1d}
            next: {default: shipped, timeout: remind}
          remind:
            type: webhook
            params: {url: "\${vars.api}/reminders", body: {order: "\${flow.input.order}"}}
            retry: {max: 3}
            next: paid
          shipped:
            type: wait
            params: {key: shipped, timeout: 10d}
            next: {default: done, timeout: late}
          done: {type: return, params: {value: shipped}}
          late: {type: return, params: {value: not shipped in time}}
      cancellation:
        nodes:
          cancelled: {type: wait, params: {key: cancelled}, next: refund}
          refund:
            type: http.request
            params: {method: PUT, url: "\${vars.api}/refunds/\${flow.input.order}"}
            retry: {max: 5}
            next: done
          done: {type: return, params: {value: cancelled}}
    next: end

  end:
    type: return
    params: {value: {state: "\${input.order ?? input.cancellation}"}}

tests:
  it_is_paid_after_a_reminder:
    input: {order: A-7}
    mocks: {remind: {result: {status_code: 200}}}
    signals: {paid: {payload: {amount: 20}, after: 30h}, shipped: {payload: null, after: 4d}}
    expect: {result: {state: shipped}, tries: {remind: 1}}

  it_is_cancelled_after_it_was_paid:
    input: {order: A-7}
    mocks: {refund: {result: {status_code: 200}}}
    signals: {paid: {payload: {amount: 20}, after: 1h}, cancelled: {payload: null, after: 2d}}
    expect: {result: {state: cancelled}}

  it_is_not_shipped:
    input: {order: A-7}
    signals: {paid: {payload: {amount: 20}, after: 1h}}
    expect: {result: {state: not shipped in time}}

  it_is_never_paid:
    input: {order: A-7}
    mocks: {remind: {result: {status_code: 200}}}
    expect: {error: timeout, tries: {remind: 29}}
`,"../../../../src/flowrunner/cli/flow_templates/sql.yaml":`# Needs the secret DATABASE_URL, as in
# postgresql://user:password@host:5432/database
# and there the table orders (id, total, paid).
metadata: {name: pay-order, description: Marks an order in PostgreSQL as paid unless it is already}

inputs:
  order: {type: integer, default: 7}

nodes:
  find:
    type: sql
    params:
      url: "\${secrets.DATABASE_URL}"
      # Values are arguments, never a part of the query.
      query: SELECT id, total, paid FROM orders WHERE id = $1
      args: ["\${flow.input.order}"]
    retry: {max: 3}
    next: known

  known:
    type: switch
    params:
      cases:
        - {when: "input.row_count === 0", action: unknown}
        - {when: "input.rows[0].paid", action: paid}
    next: {unknown: unknown, paid: done, default: pay}

  pay:
    type: sql
    params:
      url: "\${secrets.DATABASE_URL}"
      operation: execute
      query: UPDATE orders SET paid = true WHERE id = $1
      args: ["\${flow.input.order}"]
    next: done

  done:
    type: return
    params: {value: {total: "\${nodes.find.result.rows[0].total}"}}

  unknown:
    type: fail
    params: {error: order.unknown, message: "There is no order \${flow.input.order}"}

tests:
  an_open_order:
    mocks: {find: {result: {rows: [{id: 7, total: "19.90", paid: false}], row_count: 1}}, pay: {result: {rows: [], row_count: 1}}}
    expect: {path: [find, known, pay, done], result: {total: "19.90"}}

  it_is_paid_already:
    mocks: {find: {result: {rows: [{id: 7, total: "19.90", paid: true}], row_count: 1}}}
    expect: {path: [find, known, done]}

  there_is_no_such_order:
    mocks: {find: {result: {rows: [], row_count: 0}}}
    expect: {error: {type: order.unknown}}
`,"../../../../src/flowrunner/cli/flow_templates/switch.yaml":`metadata: {name: route-orders, description: Takes another way for each kind of input}

inputs:
  country: {type: string}
  total: {type: number}

nodes:
  route:
    type: switch
    params:
      # The first case that is true counts.
      cases:
        - {when: "flow.input.total <= 0", action: empty}
        - {when: "['DE', 'AT', 'CH'].includes(flow.input.country)", action: near}
    next: {empty: refuse, near: van, default: ship}

  refuse:
    type: fail
    params: {error: order.empty, message: The order has no value}

  van:
    type: return
    params: {value: {by: van, days: 1}}

  ship:
    type: return
    params: {value: {by: ship, days: 30}}

tests:
  near:
    input: {country: AT, total: 20}
    expect: {path: [route, van], result: {by: van, days: 1}}

  far:
    input: {country: NZ, total: 20}
    expect: {result: {by: ship, days: 30}}

  empty:
    input: {country: AT, total: 0}
    expect: {error: order.empty}
`,"../../../../src/flowrunner/cli/flow_templates/upload.yaml":`metadata: {name: archive-invoice, description: Loads a file from one server and sends it to another in a form}

vars: {erp: "https://erp.example.com", archive: "https://archive.example.com"}

inputs:
  invoice: {type: integer}

nodes:
  load:
    type: http.request
    # A file is base64 in a flow.
    params: {url: "\${vars.erp}/invoices/\${flow.input.invoice}.pdf", response: base64}
    retry: {max: 3}
    output: "\${result.body}"
    next: {default: send, error.http.404: missing}

  send:
    type: http.request
    params:
      method: POST
      url: "\${vars.archive}/documents"
      form: {kind: invoice}
      files: {file: {filename: "\${flow.input.invoice}.pdf", content_type: application/pdf, base64: "\${nodes.load.result}"}}
    retry: {max: 3}
    output: "\${result.body.id}"
    next: done

  done:
    type: return
    params: {value: {document: "\${input}"}}

  missing:
    type: fail
    params: {error: invoice.missing, message: "There is no invoice \${flow.input.invoice}"}

tests:
  a_file_is_archived:
    input: {invoice: 7}
    mocks: {load: {result: {body: JVBERi0=}}, send: {result: {status_code: 201, body: {id: D-1}}}}
    expect: {result: {document: D-1}}

  there_is_no_file:
    input: {invoice: 8}
    mocks: {load: {error: http.404}}
    expect: {error: {type: invoice.missing, message: There is no invoice 8}}
`,"../../../../src/flowrunner/cli/flow_templates/webhook.yaml":`metadata: {name: receive-order, description: Starts for each signed request and answers with the result}

inputs:
  order: {type: object}

triggers:
  ordered:
    type: webhook
    # The sender signs its requests: flowrunner secret set ORDERS_HOOK
    verify: {scheme: standard, secret: "\${secrets.ORDERS_HOOK}"}
    input: {order: "\${trigger.body}"}
    respond: {mode: result}

nodes:
  check:
    type: switch
    params:
      cases:
        - {when: "flow.input.order.total > 0", action: valid}
    next: {valid: accept, default: refuse}

  accept:
    type: return
    params: {value: {accepted: true, id: "\${flow.input.order.id}"}}

  refuse:
    type: return
    params: {value: {accepted: false}}

tests:
  an_order_is_accepted:
    trigger: {name: ordered, body: {id: 7, total: 20}}
    expect: {result: {accepted: true, id: 7}}

  an_empty_order_is_not:
    trigger: {name: ordered, body: {id: 8, total: 0}}
    expect: {path: [check, refuse], result: {accepted: false}}
`}),E=Object.entries(w.titles).map(([e,t])=>{let n=T[`../../../../src/flowrunner/cli/flow_templates/${e}.yaml`];return{name:e,title:t,description:S(n).metadata.description,definition:n}}),D=`metadata: {name: New flow}

nodes:
  done: {type: return, params: {value: "\${input}"}}
`;function O(){let t=i.value.query.get(`from`),r=m(`language`,()=>y(n.peek()?.id??``));if(t!==null&&p(`editor`)&&r.data!==void 0){let e=E.find(({name:e})=>e===t);return f(_,{language:r.data,initial:e?.definition??D,draft:k(t)},t)}let o=f(c,{title:b.newFlow,crumbs:f(`a`,{href:e(`/flows`),children:b.flows})});return p(`editor`)?t===null?f(u,{children:[o,f(`div`,{class:`content`,children:[f(`p`,{class:`muted`,children:w.hint}),f(`ul`,{class:`samples`,children:[f(`li`,{children:f(`button`,{class:`card sample`,onClick:()=>A(`empty`),children:[f(`span`,{class:`sample-picture muted`,children:f(d,{name:`plus`})}),f(`b`,{children:[w.empty,f(j,{from:`empty`})]}),f(`span`,{class:`muted small`,children:w.emptyHint})]})}),E.map(e=>f(`li`,{children:f(M,{sample:e})},e.name))]})]})]}):f(u,{children:[o,f(`div`,{class:`content`,children:f(a,{query:r,rows:10,children:()=>null})})]}):f(u,{children:[o,f(l,{title:b.readOnly,children:f(`p`,{children:b.readOnlyHint})})]})}function k(e){return`${s.peek()?.id}.${n.peek()?.id}.new.${e}`}function A(t){r(e(`/flows/new`,{from:t}))}function j({from:e}){return o.keys(`${k(e)}.`).length>0?f(u,{children:[` `,f(`span`,{class:`unsaved`,children:v.unsaved})]}):null}function M({sample:e}){let n=t(()=>g(h(x(e.definition).graph)),[]);return f(`button`,{class:`card sample`,onClick:()=>A(e.name),children:[f(`span`,{class:`sample-picture`,children:f(C,{layout:n})}),f(`b`,{children:[e.title,f(j,{from:e.name})]}),f(`span`,{class:`muted small`,children:e.description})]})}export{O as default};