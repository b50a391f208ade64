"""Who and what the demo's news is about. People and companies are invented, as is all that happens."""

from __future__ import annotations

from collections.abc import Mapping

from raysq.tasks.headlines.template import table

COUNTRIES = table(
    "name adjective capital",
    """
    australia ; australian ; canberra
    austria ; austrian ; vienna
    brazil ; brazilian ; brasilia
    canada ; canadian ; ottawa
    chile ; chilean ; santiago
    china ; chinese ; beijing
    egypt ; egyptian ; cairo
    finland ; finnish ; helsinki
    france ; french ; paris
    germany ; german ; berlin
    greece ; greek ; athens
    hungary ; hungarian ; budapest
    india ; indian ; new delhi
    indonesia ; indonesian ; jakarta
    ireland ; irish ; dublin
    italy ; italian ; rome
    japan ; japanese ; tokyo
    kenya ; kenyan ; nairobi
    mexico ; mexican ; mexico city
    norway ; norwegian ; oslo
    peru ; peruvian ; lima
    poland ; polish ; warsaw
    portugal ; portuguese ; lisbon
    spain ; spanish ; madrid
    sweden ; swedish ; stockholm
    thailand ; thai ; bangkok
    turkey ; turkish ; ankara
    vietnam ; vietnamese ; hanoi
    """,
)
COMPANIES = table(
    "name short adjective trade goods",
    """
    halden motors ; halden ; swedish ; carmaker ; cars
    kessler automobile works ; kessler ; german ; carmaker ; cars
    tanabe motor corp ; tanabe ; japanese ; carmaker ; cars
    aurelia airlines ; aurelia ; italian ; airline ; flights
    northwind airways ; northwind ; canadian ; airline ; flights
    southern cross air ; southern cross ; australian ; airline ; flights
    banco meridional ; meridional ; spanish ; lender ; loans
    first harbour bank ; first harbour ; irish ; lender ; loans
    ostland bank ; ostland ; polish ; lender ; loans
    delmar foods ; delmar ; mexican ; food group ; snacks
    fontaine group ; fontaine ; french ; food group ; snacks
    kiran dairies ; kiran ; indian ; food group ; snacks
    nordoil ; nordoil ; norwegian ; oil company ; fuel
    petrosol ; petrosol ; brazilian ; oil company ; fuel
    red basin energy ; red basin ; australian ; oil company ; fuel
    cobre andino ; cobre andino ; chilean ; mining company ; copper
    kestrel resources ; kestrel ; canadian ; mining company ; copper
    linzer stahl ; linzer ; austrian ; steelmaker ; steel
    shandong iron works ; shandong iron ; chinese ; steelmaker ; steel
    pharmavita ; pharmavita ; hungarian ; drugmaker ; medicines
    roussel laboratories ; roussel ; french ; drugmaker ; medicines
    zenkyo pharma ; zenkyo ; japanese ; drugmaker ; medicines
    lumio telecom ; lumio ; finnish ; phone company ; phones
    telmara ; telmara ; portuguese ; phone company ; phones
    baotong electronics ; baotong ; chinese ; chipmaker ; chips
    silvertree systems ; silvertree ; american ; software company ; software
    orbis data ; orbis ; american ; software company ; software
    casa linda stores ; casa linda ; mexican ; retailer ; clothes
    hartley and moss ; hartley ; british ; retailer ; clothes
    brightwater homes ; brightwater ; british ; builder ; houses
    """,
)
PEOPLE = table(
    "name last",
    """
    anna lindqvist ; lindqvist
    pedro salgado ; salgado
    mei tanaka ; tanaka
    jonas weber ; weber
    claire dumont ; dumont
    rajiv menon ; menon
    sofia petrakis ; petrakis
    tomasz zielinski ; zielinski
    elena moretti ; moretti
    david okello ; okello
    marta novak ; novak
    hassan farouk ; farouk
    ingrid solberg ; solberg
    luis carranza ; carranza
    nguyen van hai ; hai
    peter gallagher ; gallagher
    ayla demir ; demir
    paulo teixeira ; teixeira
    karin holm ; holm
    viktor szabo ; szabo
    lucia vargas ; vargas
    wei jun ; wei
    robert hayes ; hayes
    emma lawson ; lawson
    andre bellamy ; bellamy
    siti rahman ; rahman
    """,
)
SUMS = table(
    "name",
    """
    #.# million dollars
    ## million dollars
    ### million dollars
    #.# billion dollars
    ## billion dollars
    ### million euros
    #.# billion euros
    """,
)
PERCENTS = table(
    "name",
    """
    # percent
    #.# percent
    #.## percent
    ## percent
    ##.# percent
    """,
)
DEATHS = table(
    "name short",
    """
    at least ## people ; (##|dozens)
    at least ### people ; (###|hundreds)
    more than ## people ; (over ##|dozens)
    more than ### people ; (over ###|hundreds)
    ## people ; ##
    six people ; (six|#)
    eight people ; (eight|#)
    nine people ; (nine|#)
    """,
)
WORDS: Mapping[str, str] = {
    "day": "(on monday|on tuesday|on wednesday|on thursday|on friday|on saturday|on sunday)",
    "official": "(a government spokesman|a senior official|officials|the interior ministry)",
    "report": "(the state news agency reported|local radio reported|newspapers reported|a newspaper said)",
    "company_source": "(a company spokesman|the company|its chairman|a person close to the company)",
    "analyst": "(analysts|dealers|traders|economists)",
    "lift": "(lift|boost|buoy)",
    "lifts": "(lifts|boosts|buoys)",
    "hit": "(hit|hurt|dent)",
    "hits": "(hits|hurts|dents)",
    "gains": "(gains|rally)",
    "losses": "(losses|slide)",
    "rose": "(rose|climbed|gained|advanced)",
    "rises": "(rises|climbs|gains|up)",
    "rise": "(rise|climb|gain|advance|up)",
    "fell": "(fell|dropped|slipped|declined)",
    "falls": "(falls|drops|slips|down)",
    "fall": "(fall|drop|slip|decline|down)",
}
"""Words of every template."""
