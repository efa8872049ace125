import{$ as e,H as t,Ht as n,It as r,L as i,O as a,Vt as o,W as s,ct as c,et as l,j as u,jt as d,l as f,n as p,tt as m,y as h}from"./index.js";import{n as g}from"./view.js";import{Editor as _,n as v,t as y}from"./flow-edit.js";import{t as b}from"./flow.js";import{r as x}from"./state.js";import{t as S}from"./browser.js";function C({layout:e}){return c(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>c(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>c(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:r,height:i})=>c(`g`,{children:[c(`rect`,{class:`picture-node`,x:t,y:n,width:r,height:i,rx:`10`}),c(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var w={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`,titles:{hello:`Hello`,http:`Call an API and handle errors`,webhook:`Receive a webhook`,schedule:`Start at fixed times`,approval:`Ask before you act`,foreach:`Work through a list`,switch:`Choose a way`}},T=Object.assign({"../../../../src/flowrunner/cli/flow_templates/approval.yaml":`metadata: {name: ask-first, description: Asks a person before it acts; declines without an answer}

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
  start: {type: return, params: {value: null}}
`;function O(){let i=t.value.query.get(`from`),o=d(void 0),u=d(void 0);if(r(()=>{y(a.peek()?.id??``).then(e=>o.value=e,e=>u.value=e)},[]),i!==null&&h(`editor`)&&o.value!==void 0){let e=E.find(({name:e})=>e===i);return c(_,{language:o.value,initial:e?.definition??D,draft:k(i)},i)}return h(`editor`)?c(n,{children:[c(p,{title:b.newFlow,crumbs:c(`a`,{href:s(`/flows`),children:b.flows})}),c(`div`,{class:`content`,children:[u.value!==void 0&&c(m,{error:u.value}),c(`p`,{class:`muted`,children:w.hint}),c(`ul`,{class:`samples`,children:[E.map(e=>c(`li`,{children:c(M,{sample:e})},e.name)),c(`li`,{children:c(`button`,{class:`card sample`,onClick:()=>A(`empty`),children:[c(`span`,{class:`sample-picture muted`,children:c(e,{name:`plus`})}),c(`b`,{children:[w.empty,c(j,{from:`empty`})]}),c(`span`,{class:`muted small`,children:w.emptyHint})]})})]})]})]}):c(n,{children:[c(p,{title:b.newFlow,crumbs:c(`a`,{href:s(`/flows`),children:b.flows})}),c(l,{title:b.readOnly,children:c(`p`,{children:b.readOnlyHint})})]})}function k(e){return`${f.peek()?.id}.${a.peek()?.id}.new.${e}`}function A(e){i(s(`/flows/new`,{from:e}))}function j({from:e}){return u.keys(`${k(e)}.`).length>0?c(n,{children:[` `,c(`span`,{class:`unsaved`,children:v.unsaved})]}):null}function M({sample:e}){let t=o(()=>g(x(e.definition).graph),[]);return c(`button`,{class:`card sample`,onClick:()=>A(e.name),children:[c(`span`,{class:`sample-picture`,children:c(C,{layout:t})}),c(`b`,{children:[e.title,c(j,{from:e.name})]}),c(`span`,{class:`muted small`,children:e.description})]})}export{O as default};