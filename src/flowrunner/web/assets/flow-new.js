import{B as e,E as t,Et as n,H as r,It as i,Lt as a,Q as o,V as s,X as c,Z as l,_ as u,at as d,jt as f,n as p}from"./index.js";import{n as m}from"./view.js";import{t as h}from"./flow.js";import{Editor as g,t as _}from"./flow-edit.js";import{r as v}from"./state.js";function y({layout:e}){return d(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>d(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>d(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:r,height:i})=>d(`g`,{children:[d(`rect`,{class:`picture-node`,x:t,y:n,width:r,height:i,rx:`10`}),d(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var b={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`},x=[{name:`hello`,title:`Hello`,description:`Two nodes: one makes a greeting from an input, one returns it.`,definition:`metadata: {name: hello, description: Greets somebody}

inputs:
  name: {type: string, default: World}

nodes:
  greet:
    type: transform
    params:
      value: "Hello \${flow.input.name}"
    next: done

  done:
    type: return
    params: {value: "\${input}"}
`},{name:`approval`,title:`Ask before you act`,description:`A person approves or rejects; both ways lead on.`,definition:`metadata: {name: ask-first, description: Waits for a person}

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
`},{name:`loop`,title:`Work through a list`,description:`A loop runs for each element, three at a time, and collects what it finds.`,definition:`metadata: {name: work-list, description: Works through a list}

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
`},{name:`http`,title:`Call an API and handle errors`,description:`A request with retries; every error leads to a node that says what happened.`,definition:`metadata: {name: call-api, description: Reads from an API}

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

  give_up:
    type: fail
    params: {error: api.failed, message: "\${error.message}"}
`}],S=`metadata: {name: }

nodes:
  `;function C(){let i=e.value.query.get(`from`),m=n(void 0),v=n(void 0);if(f(()=>{_(t.peek()?.id??``).then(e=>m.value=e,e=>v.value=e)},[]),i!==null&&u(`editor`)&&m.value!==void 0){let e=x.find(({name:e})=>e===i);return d(g,{language:m.value,initial:e?.definition??S},i)}return u(`editor`)?d(a,{children:[d(p,{title:h.newFlow,crumbs:d(`a`,{href:r(`/flows`),children:h.flows})}),d(`div`,{class:`content`,children:[v.value!==void 0&&d(o,{error:v.value}),d(`p`,{class:`muted`,children:b.hint}),d(`ul`,{class:`samples`,children:[x.map(e=>d(`li`,{children:d(w,{sample:e})},e.name)),d(`li`,{children:d(`button`,{class:`card sample`,onClick:()=>s({from:`empty`}),children:[d(`span`,{class:`sample-picture muted`,children:d(c,{name:`plus`})}),d(`b`,{children:b.empty}),d(`span`,{class:`muted small`,children:b.emptyHint})]})})]})]})]}):d(a,{children:[d(p,{title:h.newFlow,crumbs:d(`a`,{href:r(`/flows`),children:h.flows})}),d(l,{title:h.readOnly,children:d(`p`,{children:h.readOnlyHint})})]})}function w({sample:e}){let t=i(()=>m(v(e.definition).graph),[]);return d(`button`,{class:`card sample`,onClick:()=>s({from:e.name}),children:[d(`span`,{class:`sample-picture`,children:d(y,{layout:t})}),d(`b`,{children:e.title}),d(`span`,{class:`muted small`,children:e.description})]})}export{C as default};