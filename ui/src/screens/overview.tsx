/** The overview: what is failing, waiting and running now. */
import { Head } from "../app/shell";
import { shell } from "../texts/shell";

export default function Overview() {
  return <Head title={shell.overview} />;
}
