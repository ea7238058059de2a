"""Reads a portal with HubSpot's own client, and prints what it found as JSON.

Its models refuse answers that lack what the published documents require.
"""

import json
import sys

from hubspot import HubSpot
from hubspot.crm.associations.v4 import BatchInputPublicFetchAssociationsBatchRequest
from hubspot.crm.companies import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from hubspot.crm.companies.exceptions import ApiException


def pages(get_page, **arguments):
    """All results of a list, and how many pages it had. The last answer's link is followed by nobody but tested."""
    results, count, after = [], 0, None
    while True:
        page = get_page(after=after, **arguments)
        results += page.results
        count += 1
        if page.paging is None or page.paging.next is None:
            return results, count
        assert page.paging.next.link.startswith(url), page.paging.next.link
        after = page.paging.next.after


url, token = sys.argv[1:]
api = HubSpot(access_token=token, host=url)
companies = api.crm.companies
live, live_pages = pages(companies.basic_api.get_page, limit=100, properties=["name", "city"])
archived, _ = pages(companies.basic_api.get_page, limit=100, archived=True)
owners, owner_pages = pages(api.crm.owners.owners_api.get_page, limit=100)

hits, after = [], None
while True:
    found = companies.search_api.do_search(
        PublicObjectSearchRequest(
            filter_groups=[
                {"filters": [{"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": "0"}]}
            ],
            sorts=[{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            properties=["name"],
            limit=200,
            after=after or "0",
        )
    )
    hits += [int(hit.id) for hit in found.results]
    if found.paging is None or found.paging.next is None:
        break
    after = found.paging.next.after
assert hits == sorted(hits)

batch = companies.batch_api.read(
    BatchReadInputSimplePublicObjectId(
        inputs=[{"id": live[0].id}, {"id": "1"}],
        properties=["name"],
        properties_with_history=["city"],
    )
)
links = api.crm.associations.v4.batch_api.get_page(
    "companies",
    "contacts",
    BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": live[0].id}, {"id": live[1].id}]),
)
properties = api.crm.properties.core_api.get_all("companies").results
pipelines = api.crm.pipelines.pipelines_api.get_all("deals").results
try:
    companies.basic_api.get_page(limit=101)
    refused = 0
except ApiException as error:
    refused = error.status

print(
    json.dumps(
        {
            "live": len({company.id for company in live}),
            "pages": live_pages,
            "archived": [company.id for company in archived],
            "owners": len({owner.id for owner in owners}),
            "owner_pages": owner_pages,
            "total": found.total,
            "hits": len(set(hits)),
            "batch": [len(batch.results), batch.num_errors],
            "history": [version.value for version in batch.results[0].properties_with_history["city"]],
            "links": sorted(link.to[0].to_object_id for link in links.results),
            "category": links.results[0].to[0].association_types[0].category,
            "calculated": [p.name for p in properties if p.calculated],
            "stages": len(pipelines[0].stages),
            "refused": refused,
        }
    )
)
