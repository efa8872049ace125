import{D as e,G as t,O as n,Q as r,Tt as i,W as a,k as o,mt as s,p as c,r as l,wt as u,x as d,yt as f}from"./index.js";import{n as p}from"./view.js";import{t as m}from"./flow.js";import{Editor as h,t as g}from"./flow-edit.js";import{r as _}from"./state.js";function v({layout:e}){return r(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>r(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>r(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:i,height:a})=>r(`g`,{children:[r(`rect`,{class:`picture-node`,x:t,y:n,width:i,height:a,rx:`10`}),r(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var y={hint:`Begin with a sample that works, or with an empty text. Everything can be changed afterwards.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`,blank:`…`},b=[{name:`hello`,title:`Hello`,description:`Two nodes: one makes a greeting from an input, one returns it.`,definition:`metadata: {name: hello, description: Greets somebody}

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
  `;function S(){let u=e.value.query.get(`from`),p=s(void 0),_=s(void 0);if(f(()=>{g(d.peek()?.id??``).then(e=>p.value=e,e=>_.value=e)},[]),u!==null&&c(`editor`)&&p.value!==void 0){let e=b.find(({name:e})=>e===u);return r(h,{language:p.value,initial:e?.definition??x},u)}return c(`editor`)?r(i,{children:[r(l,{title:m.newFlow,crumbs:r(`a`,{href:o(`/flows`),children:m.flows})}),r(`div`,{class:`content`,children:[_.value!==void 0&&r(t,{error:_.value}),r(`p`,{class:`muted`,children:y.hint}),r(`ul`,{class:`samples`,children:[b.map(e=>r(`li`,{children:r(C,{sample:e})},e.name)),r(`li`,{children:r(`button`,{class:`card sample`,onClick:()=>n({from:`empty`}),children:[r(`span`,{class:`sample-picture muted`,children:y.blank}),r(`b`,{children:y.empty}),r(`span`,{class:`muted small`,children:y.emptyHint})]})})]})]})]}):r(i,{children:[r(l,{title:m.newFlow,crumbs:r(`a`,{href:o(`/flows`),children:m.flows})}),r(a,{title:m.readOnly,children:r(`p`,{children:m.readOnlyHint})})]})}function C({sample:e}){let t=u(()=>p(_(e.definition).graph),[]);return r(`button`,{class:`card sample`,onClick:()=>n({from:e.name}),children:[r(`span`,{class:`sample-picture`,children:r(v,{layout:t})}),r(`b`,{children:e.title}),r(`span`,{class:`muted small`,children:e.description})]})}export{S as default};