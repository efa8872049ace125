/** Files that operations answer and take. */
import { common } from "../texts/common";
import { answerTo, ApiError, read, type Operation, type Options, type PathsWith, type Success } from "./client";

/** Return what an operation answers as a file, in the type of its header `Accept`. Raises: ApiError, also if the connection has ended within the file. */
export async function fileOf<P extends PathsWith<"get">>(path: P, accept: string, options: Options<Operation<P, "get">> = {}): Promise<Blob> {
  const headers = { ...options.headers, Accept: accept };
  const response = await answerTo("get", path as string, { ...options, headers } as Options<unknown>);
  try {
    return await response.blob();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", common.cutOff, common.cutOffHint);
  }
}

/** Send a file and return the answer. Raises: ApiError. */
export async function sendFile<P extends PathsWith<"post">>(path: P, file: Blob, type: string, options: Pick<Options<Operation<P, "post">>, "query"> = {}): Promise<Success<Operation<P, "post">>> {
  const response = await answerTo("post", path as string, { ...options, body: file, headers: { "Content-Type": type } } as unknown as Options<unknown>);
  return (await read(response, undefined)) as Success<Operation<P, "post">>;
}
