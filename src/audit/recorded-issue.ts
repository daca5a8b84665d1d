import type { Cancellation } from '../cancellation.js';
import { type IssueDeps, type Issued, type IssueRequest, issue, type RequestContext } from '../issue.js';
import type { Audit } from './audit.js';

/**
 * issue() with its decision in the trail: the intent is durable before a log is asked, the outcome before this resolves or
 * rejects. Throws as issue() does, and AppError AUDIT_UNAVAILABLE.
 */
export async function recordedIssue(
  audit: Audit,
  request: IssueRequest,
  deps: IssueDeps,
  signal: Cancellation,
  context: RequestContext,
): Promise<Issued> {
  if (!audit.kept) return issue(request, deps, signal, context);
  const decision = audit.begin(context);
  const told: IssueDeps = {
    ...deps,
    admit(authenticated) {
      decision.authenticated(authenticated);
      return deps.admit(authenticated);
    },
    intend: (intent) => decision.intend(intent),
  };
  try {
    const issued = await issue(request, told, signal, context);
    await decision.issued(issued);
    return issued;
  } catch (error) {
    await decision.refused(error);
    throw error;
  }
}
