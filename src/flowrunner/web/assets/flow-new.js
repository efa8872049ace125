import{B as e,E as t,Ft as n,Pt as r,V as i,X as a,Y as o,Z as s,_ as c,it as l,kt as u,n as d,wt as f,z as p}from"./index.js";import{n as m}from"./view.js";import{t as h}from"./flow.js";import{Editor as g,t as _}from"./flow-edit.js";import{r as v}from"./state.js";function y({layout:e}){return l(`svg`,{class:`graph-picture`,viewBox:`-8 -8 ${e.width+16} ${e.height+16}`,"aria-hidden":`true`,children:[e.frames.map(e=>l(`rect`,{class:`picture-frame`,x:e.x,y:e.y,width:e.width,height:e.height,rx:`12`},`${e.owner} ${e.title}`)),e.links.map(({link:e,path:t})=>l(`path`,{class:e.isError?`error`:``,d:t},`${e.source}\n${e.target}`)),e.nodes.map(({node:e,x:t,y:n,width:r,height:i})=>l(`g`,{children:[l(`rect`,{class:`picture-node`,x:t,y:n,width:r,height:i,rx:`10`}),l(`text`,{x:t+16,y:n+33,children:e.label.length>17?`${e.label.slice(0,16)}…`:e.label})]},e.id))]})}var b={hint:`Start with a working sample or an empty flow. You can change everything later.`,empty:`Empty flow`,emptyHint:`Write it yourself, with completion for every key.`},x=[{name:`hello`,title:`Hello`,description:`Two nodes: one makes a greeting from an input, one returns it.`,definition:`metadata: {name: hello, description: Greets somebody}

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
  `;function C(){let r=p.value.query.get(`from`),m=f(void 0),v=f(void 0);if(u(()=>{_(t.peek()?.id??``).then(e=>m.value=e,e=>v.value=e)},[]),r!==null&&c(`editor`)&&m.value!==void 0){let e=x.find(({name:e})=>e===r);return l(g,{language:m.value,initial:e?.definition??S},r)}return c(`editor`)?l(n,{children:[l(d,{title:h.newFlow,crumbs:l(`a`,{href:i(`/flows`),children:h.flows})}),l(`div`,{class:`content`,children:[v.value!==void 0&&l(s,{error:v.value}),l(`p`,{class:`muted`,children:b.hint}),l(`ul`,{class:`samples`,children:[x.map(e=>l(`li`,{children:l(w,{sample:e})},e.name)),l(`li`,{children:l(`button`,{class:`card sample`,onClick:()=>e({from:`empty`}),children:[l(`span`,{class:`sample-picture muted`,children:l(o,{name:`plus`})}),l(`b`,{children:b.empty}),l(`span`,{class:`muted small`,children:b.emptyHint})]})})]})]})]}):l(n,{children:[l(d,{title:h.newFlow,crumbs:l(`a`,{href:i(`/flows`),children:h.flows})}),l(a,{title:h.readOnly,children:l(`p`,{children:h.readOnlyHint})})]})}function w({sample:t}){let n=r(()=>m(v(t.definition).graph),[]);return l(`button`,{class:`card sample`,onClick:()=>e({from:t.name}),children:[l(`span`,{class:`sample-picture`,children:l(y,{layout:n})}),l(`b`,{children:t.title}),l(`span`,{class:`muted small`,children:t.description})]})}export{C as default};