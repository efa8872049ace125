// One day with the generated client. It prints what it has seen, for the test.
import { createFlow, getExecution, getFlowSchema, listSteps, login, runFlow } from './client';
import { client } from './client/client.gen';

declare const process: { argv: string[] };

async function main([url, email, password]: string[]): Promise<unknown> {
  client.setConfig({ baseUrl: url });
  const session = await login({ body: { username: email, password }, throwOnError: true });
  client.setConfig({ auth: () => session.data.token });

  const definition = 'nodes:\n  hello: {type: return, params: {value: "Hello, ${flow.input.name}"}}\n';
  const flow = await createFlow({ body: { name: 'From TypeScript', definition }, throwOnError: true });
  const path = { id: flow.data.id };
  const run = await runFlow({
    path, body: { input: { name: 'Ada' } }, headers: { Prefer: 'wait=20' }, throwOnError: true,
  });
  const steps = await listSteps({ path: { id: run.data.execution_id }, throwOnError: true });
  const schema = await getFlowSchema({ throwOnError: true });

  const faulty = await createFlow({ body: { name: 'Faulty', definition: 'nodes: {}' } });
  const missing = await getExecution({ path: { id: 'exec-1' } });
  return {
    status: run.data.status,
    result: run.data.result,
    schema: [schema.data.$schema, 'nodes' in schema.data.properties, schema.data.additionalProperties],
    steps: steps.data.steps.map((step) => [step.node_id, step.status]),
    fault: faulty.error?.error.details.errors?.map((fault) => fault.path),
    missing: [missing.response?.status, missing.error?.error.code, missing.error?.error.docs],
  };
}

main(process.argv.slice(2)).then((seen) => console.log(JSON.stringify(seen)));
