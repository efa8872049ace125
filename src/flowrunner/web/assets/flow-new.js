import{$ as e,D as t,Dt as n,Et as r,G as i,K as a,O as o,gt as s,k as c,p as l,r as u,x as d,xt as f}from"./index.js";import{n as p}from"./view.js";import{t as m}from"./flow.js";import{Editor as h,t as g}from"./flow-edit.js";import{r as _}from"./state.js";function v({layout:t}){return e(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${t.width+16} ${t.height+16}`,"aria-hidden":`true`,children:[t.frames.map(t=>e(`rect`,{class:`picture-frame`,x:t.x,y:t.y,width:t.width,height:t.height,rx:`12`},`${t.owner} ${t.title}`)),t.links.map(({link:t,path:n})=>e(`path`,{class:t.isError?`error`:``,d:n},`${t.source}\n${t.target}`)),t.nodes.map(({node:t,x:n,y:r,width:i,height:a})=>e(`g`,{children:[e(`rect`,{class:`picture-node`,x:n,y:r,width:i,height:a,rx:`10`}),e(`text`,{x:n+16,y:r+33,children:t.label.length>17?`${t.label.slice(0,16)}…`:t.label})]},t.id))]})}var y={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`,blank:`…`},b=[{name:`hello`,title:`Hello`,description:`Two nodes: one makes a greeting from an input, one returns it.`,definition:`metadata: {name: hello, description: Greets somebody}

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
  `;function S(){let r=t.value.query.get(`from`),p=s(void 0),_=s(void 0);if(f(()=>{g(d.peek()?.id??``).then(e=>p.value=e,e=>_.value=e)},[]),r!==null&&l(`editor`)&&p.value!==void 0){let t=b.find(({name:e})=>e===r);return e(h,{language:p.value,initial:t?.definition??x},r)}return l(`editor`)?e(n,{children:[e(u,{title:m.newFlow,crumbs:e(`a`,{href:c(`/flows`),children:m.flows})}),e(`div`,{class:`content`,children:[_.value!==void 0&&e(a,{error:_.value}),e(`p`,{class:`muted`,children:y.hint}),e(`ul`,{class:`samples`,children:[b.map(t=>e(`li`,{children:e(C,{sample:t})},t.name)),e(`li`,{children:e(`button`,{class:`card sample`,onClick:()=>o({from:`empty`}),children:[e(`span`,{class:`sample-picture muted`,children:y.blank}),e(`b`,{children:y.empty}),e(`span`,{class:`muted small`,children:y.emptyHint})]})})]})]})]}):e(n,{children:[e(u,{title:m.newFlow,crumbs:e(`a`,{href:c(`/flows`),children:m.flows})}),e(i,{title:m.readOnly,children:e(`p`,{children:m.readOnlyHint})})]})}function C({sample:t}){let n=r(()=>p(_(t.definition).graph),[]);return e(`button`,{class:`card sample`,onClick:()=>o({from:t.name}),children:[e(`span`,{class:`sample-picture`,children:e(v,{layout:n})}),e(`b`,{children:t.title}),e(`span`,{class:`muted small`,children:t.description})]})}export{S as default};