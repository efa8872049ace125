import{Et as e,M as t,N as n,P as r,Tt as i,U as a,W as o,Z as s,bt as c,ht as l,n as u,p as d,x as f}from"./index.js";import{n as p}from"./view.js";import{t as m}from"./flow.js";import{Editor as h,t as g}from"./flow-edit.js";import{r as _}from"./state.js";function v({layout:e}){return s(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>s(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>s(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:r,height:i})=>s(`g`,{children:[s(`rect`,{class:`picture-node`,x:t,y:n,width:r,height:i,rx:`10`}),s(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var y={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`,blank:`…`},b=[{name:`hello`,title:`Hello`,description:`Two nodes: one makes a greeting from an input, one returns it.`,definition:`metadata: {name: hello, description: Greets somebody}

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
`}],x=`metadata: {name: }

nodes:
  `;function S(){let i=t.value.query.get(`from`),p=l(void 0),_=l(void 0);if(c(()=>{g(f.peek()?.id??``).then(e=>p.value=e,e=>_.value=e)},[]),i!==null&&d(`editor`)&&p.value!==void 0){let e=b.find(({name:e})=>e===i);return s(h,{language:p.value,initial:e?.definition??x},i)}return d(`editor`)?s(e,{children:[s(u,{title:m.newFlow,crumbs:s(`a`,{href:r(`/flows`),children:m.flows})}),s(`div`,{class:`content`,children:[_.value!==void 0&&s(o,{error:_.value}),s(`p`,{class:`muted`,children:y.hint}),s(`ul`,{class:`samples`,children:[b.map(e=>s(`li`,{children:s(C,{sample:e})},e.name)),s(`li`,{children:s(`button`,{class:`card sample`,onClick:()=>n({from:`empty`}),children:[s(`span`,{class:`sample-picture muted`,children:y.blank}),s(`b`,{children:y.empty}),s(`span`,{class:`muted small`,children:y.emptyHint})]})})]})]})]}):s(e,{children:[s(u,{title:m.newFlow,crumbs:s(`a`,{href:r(`/flows`),children:m.flows})}),s(a,{title:m.readOnly,children:s(`p`,{children:m.readOnlyHint})})]})}function C({sample:e}){let t=i(()=>p(_(e.definition).graph),[]);return s(`button`,{class:`card sample`,onClick:()=>n({from:e.name}),children:[s(`span`,{class:`sample-picture`,children:s(v,{layout:t})}),s(`b`,{children:e.title}),s(`span`,{class:`muted small`,children:e.description})]})}export{S as default};